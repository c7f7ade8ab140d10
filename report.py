"""The report of a run: one HTML file with its result, pictures, network, settings and machine; it opens offline.

    python report.py results/default-seed0 [--data data] [--device auto]     writes report.html into the run's folder

Every picture is in it twice, for light and for dark screens.
"""

import base64
import dataclasses
import html
import math
import sys
from pathlib import Path

import torch

import atomic
import augmentation
import cli
import data
import environment
import evaluate
import layers
import pictures
import recipes
import results
import run as runs

RANDOM = 36  # predictions that are shown
COLUMNS = 6  # of images, to be read on a phone
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --line: #d0d7de; --quiet: #59636e }
@media (prefers-color-scheme: dark) { :root { --ink: #c9d1d9; --paper: #0d1117; --line: #30363d; --quiet: #9198a1 } }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper) }
h1 { font-size: 1.5rem; margin: 0.5rem 0 0 } h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem }
p { margin: 0.3rem 0; color: var(--quiet) }
.figures, .pictures { display: grid; gap: 0.8rem; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)) }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)) }
.figures { margin: 1rem 0 }
.figures div { border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.5rem 0.8rem }
.figures b { display: block; font-size: 1.35rem } .figures span, figcaption { color: var(--quiet); font-size: 0.875rem }
figure { margin: 0 } img { max-width: 100%; height: auto; display: block }
.tables { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)) }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem }
td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.5rem 0.2rem 0; vertical-align: top }
pre { overflow-x: auto; font-size: 0.8rem; line-height: 1.35 }
td + td { text-align: right; overflow-wrap: anywhere }
"""


def image(caption, picture, *content):
    """A picture as HTML, light and dark, with its caption."""
    light, dark = (
        f"data:image/png;base64,{base64.b64encode(pictures.render(picture, *content, dark=dark)).decode()}"
        for dark in (False, True)
    )
    text = html.escape(caption)
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{text}"></picture><figcaption>{text}</figcaption></figure>'
    )


def table(title, rows):
    """A table of names and values."""
    cells = "".join(
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(str(value))}</td></tr>" for name, value in rows
    )
    return f"<section><h2>{html.escape(title)}</h2><table>{cells}</table></section>"


def figures(run, evaluation):
    """The most important numbers, as (number, what it is)."""
    low, high = results.wilson_interval(evaluation.accuracy, len(evaluation.labels))
    worst = min(evaluation.per_class_accuracy, key=evaluation.per_class_accuracy.get)
    sure = 100 * evaluation.confidences.mean().item()
    return [
        (f"{evaluation.accuracy:.2f} %", f"of the test images; 95 % interval {low:.2f} to {high:.2f}"),
        (f"{evaluation.loss:.4f}", "test loss"),
        (f"{run['total_parameters']:,}", "parameters"),
        (f"{len(run['history'])}", "epochs" if run["finished"] else f"epochs of {run['total_epochs']}: not finished"),
        (f"{run['training_time']:.1f} s", "of training"),
        (f"{evaluation.per_class_accuracy[worst]:.1f} %", f"lowest accuracy of a digit, {worst}"),
        (f"{evaluation.calibration_error:.2f} %", f"calibration error; {sure:.1f} % sure on average"),
    ]


def rate_curve(run, recipe, images):
    """(rates, steps an epoch) of a run so far: of every step, or of every epoch where validation decides."""
    if recipe.schedule == "plateau":
        return [entry["lr"] for entry in run["history"]], 1
    rate = run.get("lr_finder", {}).get("rate", recipe.learning_rate)
    steps = math.ceil((images - data.VALIDATION_IMAGES) / recipe.batch_size)
    return runs.rates(dataclasses.replace(recipe, learning_rate=rate), steps)[: steps * len(run["history"])], steps


def random_predictions(evaluation, images):
    """Images drawn at random, with what they are taken for; wrong ones are marked."""
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:RANDOM].tolist()
    captions = [
        evaluate.mistake(evaluation, index) + "!"
        if index in evaluation.misclassified
        else f"{evaluation.predictions[index]}  {100 * evaluation.confidences[index]:.0f} %"
        for index in drawn
    ]
    return images.levels[drawn, 0].cpu() / 255, captions


def curves(run, recipe, evaluation, images):
    """The pictures of a run of so many training images, and of what it came to."""
    floor = results.smoothing_floor(recipe.label_smoothing)
    smoothing = f" That of training includes label smoothing: {floor:.4f} is its lowest." if floor else ""
    return [
        image("Accuracy over the epochs, on an axis of errors.", pictures.accuracy, run["history"]),
        image(f"Loss over the epochs.{smoothing}", pictures.loss, run["history"]),
        image("Learning rate.", pictures.rate, *rate_curve(run, recipe, images)),
        image("Accuracy of each digit's test images.", pictures.per_class, evaluation.per_class_accuracy),
        image("Confusion: true digits in rows, errors in red.", pictures.confusion, evaluation.confusion),
    ]


def grids(run, recipe, evaluation, training, test):
    """The pictures that show images: every mistake, random predictions, augmented ones."""
    wrong = evaluate.mistakes(evaluation, test)
    shown, count = len(wrong[0]), len(evaluation.misclassified)
    some = f" (here {shown})" if shown < count else ""
    mistakes = f"{count} misclassified images, the most confident first{some}: true→predicted, confidence."
    drawn = random_predictions(evaluation, test)
    samples = augmentation.samples(training, recipe, run["seed"])
    seen = "Training images as they are, and as the network sees them."
    return [
        image(mistakes, pictures.digits, *wrong, COLUMNS),
        image(f"{RANDOM} test images drawn at random.", pictures.digits, *drawn, COLUMNS),
        image(seen, pictures.digits, *samples, 1 + augmentation.DRAWS),
    ]


def tables(run, recipe):
    """Settings and machine, and the range test where there was one."""
    found = [table("Settings", dataclasses.asdict(recipe).items()), table("Machine", run["environment"].items())]
    if "lr_finder" in run:
        test = run["lr_finder"]
        trained = [("trained at, in place of learning_rate", test["rate"]), *test["suggestions"].items()]
        found.append(table("Range test", [*trained, ("steps", test["steps"]), ("seconds", test["seconds"])]))
    return found


def page(run, model, epoch, evaluation, training, test):
    """The report as HTML, of a run's results, its network after an epoch, the Evaluation of that and the Images of both
    sets. Raises ValueError for results of a recipe that is no more."""
    recipe = recipes.change(recipes.Recipe(), run["recipe"])
    title = html.escape(f"{recipe.name}, seed {run['seed']}")
    averaged = ", averaged" if recipe.average_decay else ""
    numbers = "".join(
        f"<div><b>{html.escape(number)}</b><span>{html.escape(what)}</span></div>"
        for number, what in figures(run, evaluation)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>Weights of epoch {epoch}{averaged}, one view of each of the {len(evaluation.labels):,} test images.</p>
<div class="figures">{numbers}</div>
<div class="pictures">{"".join(curves(run, recipe, evaluation, len(training)))}</div>
<h2>Images</h2>
<div class="pictures">{"".join(grids(run, recipe, evaluation, training, test))}</div>
<h2>Network</h2>
<pre>{html.escape(layers.table(model))}</pre>
<div class="tables">{"".join(tables(run, recipe))}</div>
</body>
</html>
"""


def main(argv=None):
    parser = cli.Parser(description="Write the report of a run.")
    parser.add_argument("run", type=Path, help="the run's folder, such as results/default-seed0")
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    device = environment.pick_device(arguments.device)
    model, normalisation, state = evaluate.load_model(arguments.run, device)
    found = results.read(arguments.run)
    if found is None:
        raise FileNotFoundError(f"no results.json in {arguments.run}: make train")
    training, test = data.load(arguments.data, device)
    path = arguments.run / "report.html"
    content = page(found, model, state["epoch"], evaluate.evaluate(model, test, normalisation), training, test)
    atomic.replace_file(path, content.encode())
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
