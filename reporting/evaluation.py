"""An evaluation for people: what evaluate.py prints, and per_class.png, confusion.png and misclassified.png.

    python -m reporting.evaluation results/default-seed0 [--data data] [--device auto]

writes the pictures into the run's folder.
"""

from support import cli

from evaluate import evaluate_run, format_mistake
from reporting import plots


def main(argv: list[str] | None = None) -> None:
    run_dir, evaluation, images = evaluate_run(argv)
    mistakes = [evaluation.mistake(index) for index in evaluation.misclassified[: plots.LISTED]]
    pixels = images.pixels[[mistake["index"] for mistake in mistakes], 0].cpu().numpy() / 255
    counts = evaluation.confusion.tolist(), evaluation.classes
    captions = [format_mistake(mistake) for mistake in mistakes]
    for name, plot, content in (
        ("per_class.png", plots.per_class, counts),
        ("confusion.png", plots.confusion, counts),
        ("misclassified.png", plots.image_grid, (pixels, captions, 12)),
    ):
        plots.save(run_dir / name, plot, *content)
        print(run_dir / name)


if __name__ == "__main__":
    cli.run(main)
