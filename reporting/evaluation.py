"""An evaluation for people: what evaluate.py prints, and per_class.png, confusion.png and misclassified.png.

    python -m reporting.evaluation results/default-seed0 [--data data] [--device auto]

writes the pictures into the run's folder.
"""

from support import cli, files

from evaluate import evaluate_named, format_mistake
from reporting import plots


def main(argv: list[str] | None = None) -> None:
    run_dir, evaluation, images = evaluate_named(argv)
    mistakes = [evaluation.mistake(index) for index in evaluation.misclassified[: plots.LISTED]]
    pixels = images.pixels[[mistake["index"] for mistake in mistakes], 0].cpu().numpy() / 255
    captions = [format_mistake(mistake) for mistake in mistakes]
    for name, plot, *content in (
        ("per_class.png", plots.per_class, evaluation.by_class),
        ("confusion.png", plots.confusion, evaluation.confusion.tolist(), evaluation.classes),
        ("misclassified.png", plots.image_grid, pixels, captions, 12),
    ):
        files.replace_file(run_dir / name, plots.png(plot, *content))
        print(run_dir / name)


if __name__ == "__main__":
    cli.run(main)
