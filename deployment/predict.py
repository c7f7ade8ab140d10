"""Predict: a trained network reads pictures of one's own.

    python -m deployment.predict my.png [more files, folders, "*.jpg", -] [--run RUN] [--json] [--show]

prints a line for each picture: the file, its class, and the three most probable with their probabilities. Without --run
the best finished run reads. --show writes what the network saw; --json prints a list of objects with `file`, and either
`class` and `probabilities` {class: share}, or `error`. Exit status 1 when a picture could not be read; the others are
read all the same.
"""

import glob
import io
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files

import numpy as np
import torch
from PIL import Image

import checkpoint
import results
from deployment import picture_files, pictures

BEST = 3  # probabilities in a line
ENLARGED = 10  # times: what was seen, as a file
STANDARD_INPUT = "-"


Prediction = dict[str, Any]  # of a picture, as --json prints it


def find(words: list[str]) -> list[Prediction]:
    """What the words of the command line stand for, in their order: the file of each picture, or an error. A word that
    is no file may be several."""
    predictions = []
    for word in words:
        for part in [word] if glob.glob(str(cli.path(word))) or cli.path(word).exists() else split(word):
            try:
                paths = [Path(part)] if part == STANDARD_INPUT else picture_files.paths(cli.path(part))
                predictions += [{"file": str(path)} for path in paths]
            except UserError as error:
                predictions.append({"file": part, "error": str(error)})
    return predictions


def split(word: str) -> list[str]:
    """The words in one, as make hands on IMAGE="a.png b.png"; quotes keep what has spaces together."""
    try:
        return shlex.split(word) or [word]
    except ValueError:  # a quote without its other half
        return [word]


def read(file: str) -> tuple[bytes, str]:
    """(content, name) of a picture, or of standard input. Raises UserError."""
    limit = picture_files.MAX_BYTES
    if file == STANDARD_INPUT:
        content, name = sys.stdin.buffer.read(limit + 1), "standard input"
    else:
        with files.told(file, "could not be read"), open(file, "rb") as opened:
            content, name = opened.read(limit + 1), file
    if len(content) > limit:
        raise UserError(f"{name} has more than {limit >> 20} MB: scale it down, or cut out the digit")
    return content, name


def predict(run: Path, predictions: list[Prediction], device: torch.device) -> list[np.ndarray]:
    """Complete predictions with class and probabilities, or an error. What the network saw, float32 [28, 28], of those
    without one."""
    model, state = checkpoint.load_model(run, device)
    convention, seen = pictures.convention(state["recipe"]["dataset"]), []
    for prediction in readable(predictions):
        try:
            seen.append(pictures.to_input(*read(prediction["file"]), convention))
        except UserError as error:
            prediction["error"] = str(error)
    if seen:
        with torch.no_grad():
            rows = model(torch.from_numpy(np.stack(seen)[:, None]).to(device)).softmax(1).tolist()  # of [N, 1, 28, 28]
        for prediction, row in zip(readable(predictions), rows, strict=True):
            shares = dict(zip(state["classes"], row, strict=True))
            prediction |= {"class": max(shares, key=shares.get), "probabilities": shares}
    return seen


def readable(predictions: list[Prediction]) -> list[Prediction]:
    """Those without error."""
    return [prediction for prediction in predictions if "error" not in prediction]


def format_prediction(prediction: Prediction, width: int) -> str:
    """A prediction in a line, the file's name in so many characters."""
    best = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])[:BEST]
    shares = "   ".join(f"{name} {share:6.1%}".replace("%", " %") for name, share in best)
    return f"{printable(prediction['file']):{width}}  {prediction['class']}   {shares}"


def printable(name: str) -> str:
    """A file's name without what would command a terminal."""
    return "".join(character if character.isprintable() else "?" for character in name)


def write_seen(run: Path, predictions: list[Prediction], seen: list[np.ndarray]) -> None:
    """Write what the network saw of each picture into the run's folder, and note where."""
    folder = checkpoint.locate(run)[0] / "predictions"
    for number, (prediction, pixels) in enumerate(zip(readable(predictions), seen, strict=True), 1):
        stem = Path(prediction["file"]).stem.strip(STANDARD_INPUT) or "input"
        buffer = io.BytesIO()
        enlarged = np.kron(np.rint(255 * pixels).astype(np.uint8), np.ones((ENLARGED, ENLARGED), np.uint8))
        Image.fromarray(enlarged).save(buffer, "PNG")
        prediction["seen"] = str(folder / f"{number:03}-{stem}.png")
        files.replace_file(prediction["seen"], buffer.getvalue())


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "pictures", nargs="*", metavar="PICTURE", help="a file, a folder, a pattern, or - (make: IMAGE=)"
    )
    parser.add_argument("--run", type=results.find_run, help="the run that reads (default: the best finished one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--show", action="store_true", help="write what the network saw")
    parser.add_device()
    arguments = parser.parse_args(argv)
    if not arguments.pictures:
        parser.error("which picture? make predict IMAGE=my.png, or python -m deployment.predict my.png")
    device = devices.resolve_device(arguments.device)
    devices.prepare()
    run = arguments.run or results.best_run()
    predictions = find(arguments.pictures)
    seen = predict(run, predictions, device)
    if arguments.show:
        write_seen(run, predictions, seen)
    report(predictions, arguments.json)
    return 1 if any("error" in prediction for prediction in predictions) else 0


def report(predictions: list[Prediction], as_json: bool) -> None:
    """Print predictions, and on stderr what could not be read."""
    if as_json:
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
        return
    width = max((len(prediction["file"]) for prediction in readable(predictions)), default=0)
    for prediction in predictions:
        if "error" in prediction:
            print(f"predict.py: {printable(prediction['error'])}", file=sys.stderr)
            continue
        print(format_prediction(prediction, width))
        if "seen" in prediction:
            print(f"{'':{width}}  seen as {prediction['seen']}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
