"""The report of a run: one HTML file with its result, plots, model, settings and machine; it opens offline.

    python -m reporting.report results/default-seed0 [--data data] [--device auto]

writes report.html into the run's folder: under 300 kB, however many mistakes there are. Dark screens get the same
page in other colours; without its script, only the choice among the mistakes is missing.
"""

import dataclasses
import datetime
import shlex
from typing import Any

from support import cli, devices, files

import numpy as np
import torch
from markupsafe import Markup

import checkpoint
import recipes
import results
import verdict
from data import Images
from evaluate import ANSWERED, Evaluation, evaluate_run, load_images
from recipes import RECIPES, Recipe
from reporting import pages, plots, samples
from reporting.model_summary import layer_table
from reporting.templates import TEMPLATES
from results import Result
from trainer import build_scheduler

RANDOM = 36  # predictions that are shown
HARDEST = 30  # training images that are shown
VARIABLES = {"dataset": "DATASET", "epochs": "EPOCHS", "learning_rate": "LR"}  # of make train


def train_command(recipe: Recipe, seed: int, processes: int = 1) -> str:
    """The command that trains a recipe with a seed, in so many processes: make's, where its variables say all that
    differs from the named recipe, else train.py's own. Of a recipe that only a config file has, the nearest named one
    is said."""
    base = RECIPES.get(recipe.name) or min(RECIPES.values(), key=lambda base: len(recipes.differences(recipe, base)))
    changed = recipes.differences(recipe, base)
    if "learning_rate" in changed and recipe.find_lr:  # which a learning rate alone would end
        changed["find_lr"] = True
    if changed.keys() <= VARIABLES.keys():
        count = [f"NPROC={processes}"] if processes > 1 else []
        settings = [f"{VARIABLES[name]}={value}" for name, value in changed.items()]
        return shlex.join(["make", "train", f"RECIPE={base.name}", f"SEED={seed}", *settings, *count])
    launch = ["-m", "support.launch", str(processes)] if processes > 1 else []
    words = ["python", *launch, "train.py", "--recipe", base.name, "--seed", str(seed)]
    for name, value in changed.items():
        words += [f"--{name.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value)]
    return shlex.join(words)


def learning_rates(result: Result, recipe: Recipe, training_images: int) -> tuple[list[float], int]:
    """(learning rates, how many per epoch) of a run so far: of every step, or of every epoch of a plateau."""
    if recipe.schedule == "plateau":
        return [entry["lr"] for entry in result["history"]], 1
    peak = result.get("lr_finder", {}).get("lr", recipe.learning_rate)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], peak, recipe.momentum)
    scheduler = build_scheduler(dataclasses.replace(recipe, learning_rate=peak), optimizer, training_images)
    steps_per_epoch, steps = recipe.steps(training_images)
    lrs = []
    for _ in range(min(steps, steps_per_epoch * len(result["history"]))):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs, steps_per_epoch


def curves(result: Result, recipe: Recipe, training_images: int) -> list[Markup]:
    """The plots of how a run of so many training images went."""
    history, part = result["history"], results.history_part(result["recipe"])
    floor = verdict.min_smoothed_loss(recipe.label_smoothing, len(result["classes"]))
    accuracies = plots.part_lines(history, "accuracy", "train", part)
    panels = [("train",), ("test", "val")] if floor else [("train", "test", "val")]
    losses = [plots.part_lines(history, "loss", *parts) for parts in panels]
    smoothed = f" That of training includes label smoothing, {floor:.4f} at the least: it has an axis of its own."
    errors = "Accuracy over the epochs. The axis is spaced by errors: half as many is the same step anywhere."
    held_out = f"Loss over the epochs; validation is on {recipe.validation_images:,} training images held out."
    return [
        pages.picture(errors, plots.accuracy, accuracies),
        pages.picture(held_out + smoothed * (floor > 0), plots.loss, *losses),
        pages.picture("Learning rate.", plots.learning_rate, *learning_rates(result, recipe, training_images)),
    ]


def mistakes(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The mistakes that are shown, the most confident first: each an evaluate.Mistake with the class that came next."""
    others = evaluation.logits.softmax(1).scatter(1, evaluation.predictions[:, None], -1)
    confidences, runners_up = others.max(1)
    shown = []
    for index in evaluation.misclassified[: plots.LISTED]:
        runner_up, confidence = evaluation.classes[runners_up[index]], confidences[index].item()
        shown.append(evaluation.mistake(index) | {"runner_up": runner_up, "runner_up_confidence": confidence})
    return shown


def confidence(evaluation: Evaluation) -> list[Markup]:
    """The pictures of how far confidences can be believed, and of what is gained where the least confident images are
    left unanswered."""
    return [
        pages.picture(
            f"Reliability: accuracy over confidence, which agree on the dashed line; calibration error "
            f"{evaluation.calibration_error:.2f} %.",
            plots.reliability,
            evaluation.reliability,
        ),
        pages.picture(
            "Accuracy of the images of most confidence, over how many are answered.",
            plots.coverage,
            ANSWERED,
            [evaluation.coverage],
        ),
    ]


def robustness(recipe: str) -> Markup:
    """The picture of how the committed network of a recipe reads corrupted images; nothing where there is none."""
    rows = results.load_record("robustness").get("corrupted", [])
    own = [row | {"accuracy": {recipe: row["accuracy"][recipe]}} for row in rows if recipe in row["accuracy"]]
    caption = f"The committed network of {recipe} on test images that are corrupted (make robustness)."
    return pages.picture(caption, plots.corruptions, own, 2, (2.5, 2)) if own else Markup()


def report(
    result: Result, state: dict[str, Any], evaluation: Evaluation, training: Images, tested: Images, **facts: Any
) -> str:
    """The report as HTML, from a run's results, its checkpoint's state, the images of its training and its evaluation,
    and what the template shows as it is."""
    recipe, by_class = recipes.from_stored(result["recipe"]), evaluation.by_class
    counts, listed, shown = evaluation.confusion, mistakes(evaluation), state["selection"]["shown"]
    random = torch.randperm(len(tested), generator=torch.Generator().manual_seed(0))[:RANDOM].tolist()
    losses = state["selection"]["losses"].nan_to_num(posinf=0)  # when last shown; infinite where an image never was
    hardest = losses.topk(min(HARDEST, len(losses))).indices.tolist()
    images, _, columns = samples.augmented(training, recipe, result["seed"])
    return TEMPLATES.get_template("report.html.jinja").render(
        result=result,
        recipe=recipe,
        changed={"name", "architecture", *recipes.differences(recipe, Recipe())},
        settings=dataclasses.asdict(recipe),
        named=RECIPES,
        command=train_command(recipe, result["seed"], result["environment"]["processes"]),
        epoch=state["epoch"],
        evaluation=evaluation,
        curves=curves(result, recipe, len(training)),
        counts=counts.tolist(),
        errors=(counts - counts.diag().diag()).tolist(),
        confidence=[*confidence(evaluation), robustness(recipe.name)],
        per_class=pages.picture("Accuracy of each class, with its 95 % interval.", plots.per_class, by_class),
        mistakes=listed,
        mistake_images=pages.sprite(tested.pixels[[mistake["index"] for mistake in listed], 0]),
        random=[evaluation.mistake(index) for index in random],
        random_images=pages.sprite(tested.pixels[random, 0]),
        hardest=[(evaluation.classes[training.labels[index]], shown[index].item()) for index in hardest],
        hardest_images=pages.sprite(training.pixels[hardest, 0]),
        times_shown=np.percentile(shown, (0, 50, 99, 100)).astype(int).tolist(),
        augmented=pages.sprite(torch.from_numpy(255 * images), columns),
        **facts,
    )


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description="Write the report of a run.")
    parser.add_argument("run", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    device = devices.prepare(arguments.device)
    run_dir, _ = checkpoint.locate(arguments.run)
    model, state = checkpoint.load_model(run_dir, device)
    training, tested = load_images(state, arguments.data, device)
    evaluation = evaluate_run(model, state, tested)
    rules, result = verdict.judge(run_dir, arguments.data, device, evaluation), results.load(run_dir)
    trained = datetime.datetime.fromtimestamp(results.results_path(run_dir).stat().st_mtime, datetime.UTC)
    table = layer_table(model, training.pixels.shape[1:])
    text = report(result, state, evaluation, training, tested, trained=trained, rules=rules, layer_table=table)
    files.replace_file(run_dir / "report.html", text.encode())
    print(run_dir / "report.html")


if __name__ == "__main__":
    cli.run(main)
