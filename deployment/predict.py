"""Predict: a trained network reads pictures of one's own.

    python -m deployment.predict my.png [more files, folders, "*.jpg", -] [--run RUN] [--json] [--show]

prints a line for each picture: the file, and its three most probable classes with their probabilities, the best first.
Without --run the best finished run reads. --show writes what the network saw; --json prints a list of objects with
`file`, and either `class` and `probabilities` {class: share}, or `error`. Exit status 1 when a picture could not be
read; the others are read all the same.
"""

import contextlib
import glob
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from support import MAX_BYTES, UserError, cli, devices, files

import cv2
import numpy as np
import torch

import checkpoint
import results
from deployment import picture_files, pictures

BEST = 3  # probabilities in a line
ENLARGED = 10  # times: what was seen, as a file
STANDARD_INPUT = "-"

Prediction = dict[str, Any]  # of a picture, as --json prints it


def unread_predictions(words: list[str]) -> list[Prediction]:
    """The file of each picture that the command line names, in its order, or an error. A word that is no file may be
    several, as make hands on IMAGE="a.png b.png"; quotes keep what has spaces together."""
    predictions = []
    for word in words:
        parts = [word]
        if not cli.path(word).exists() and not glob.glob(str(cli.path(word))):
            with contextlib.suppress(ValueError):  # a quote without its other half
                parts = shlex.split(word) or parts
        for part in parts:
            try:
                paths = [part] if part == STANDARD_INPUT else picture_files.paths(cli.path(part))
                predictions += [{"file": str(path)} for path in paths]
            except UserError as error:
                predictions.append({"file": part, "error": str(error)})
    return predictions


def predict(run: Path, predictions: list[Prediction], device: torch.device) -> list[tuple[Prediction, np.ndarray]]:
    """Complete predictions with class and probabilities, or an error. Those without one, each with what the network
    saw, float32 [28, 28]."""
    model, state = checkpoint.load_model(run, device)
    seen, limit = [], MAX_BYTES + 1
    for prediction in (each for each in predictions if "error" not in each):
        file = prediction["file"]
        try:
            content = sys.stdin.buffer.read(limit) if file == STANDARD_INPUT else files.read(file, limit)
            if len(content) > MAX_BYTES:
                raise UserError(f"{file} has more than {MAX_BYTES >> 20} MB: scale it down, or cut out the digit")
            name = "standard input" if file == STANDARD_INPUT else file
            pixels = pictures.to_input(content, name, state["recipe"]["dataset"])
            with torch.no_grad():
                (shares,) = model(torch.from_numpy(pixels)[None, None].to(device)).softmax(1).tolist()
            probabilities = dict(zip(state["classes"], shares, strict=True))
            prediction |= {"class": max(probabilities, key=probabilities.get), "probabilities": probabilities}
            seen.append((prediction, pixels))
        except UserError as error:
            prediction["error"] = str(error)
    return seen


def write_seen(run: Path, seen: list[tuple[Prediction, np.ndarray]]) -> None:
    """Write what the network saw of each picture into the run's folder, and note where."""
    folder = checkpoint.locate(run)[0] / "predictions"
    for number, (prediction, pixels) in enumerate(seen, 1):
        stem = Path(prediction["file"]).stem.strip(STANDARD_INPUT) or "input"
        enlarged = np.kron(np.rint(255 * pixels).astype(np.uint8), np.ones((ENLARGED, ENLARGED), np.uint8))
        prediction["seen"] = str(folder / f"{number:03}-{stem}.png")
        files.replace_file(prediction["seen"], cv2.imencode(".png", enlarged)[1].tobytes())


def print_predictions(predictions: list[Prediction]) -> None:
    """Print a line for each prediction, and on stderr what could not be read. What would command a terminal is left
    out of names."""
    width = max((len(each["file"]) for each in predictions if "error" not in each), default=0)
    for prediction in predictions:
        if "error" in prediction:
            print(f"predict.py: {''.join(filter(str.isprintable, prediction['error']))}", file=sys.stderr)
            continue
        best = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])[:BEST]
        shares = "   ".join(f"{name} {100 * share:5.1f} %" for name, share in best)
        name = "".join(filter(str.isprintable, prediction["file"]))
        print(f"{name:{width}}  {shares}")
        if "seen" in prediction:
            print(f"{'':{width}}  seen as {prediction['seen']}")


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="a file, folder or pattern, or - (make: IMAGE=)")
    parser.add_argument("--run", type=results.find_run, help="the run that reads (default: the best finished one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--show", action="store_true", help="write what the network saw")
    parser.add_device()
    arguments = parser.parse_args(argv)
    if not arguments.pictures:
        parser.error("which picture? make predict IMAGE=my.png, or python -m deployment.predict my.png")
    device = devices.prepare(arguments.device)
    run = arguments.run or results.best_run()
    predictions = unread_predictions(arguments.pictures)
    seen = predict(run, predictions, device)
    if arguments.show:
        write_seen(run, seen)
    if arguments.json:
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
    else:
        print_predictions(predictions)
    return 1 if any("error" in prediction for prediction in predictions) else 0


if __name__ == "__main__":
    cli.run(main)
