"""Predict: a network reads pictures of one's own.

    python -m deployment.predict my.png [more files, folders, "*.jpg", -] [--run RUN] [--json] [--show]

prints a line for each picture: the file and its text, with the probability of each digit; for a single one, its three
most probable classes. `?` is where the network is not sure. Without --run the best finished run reads, or else the best
committed network. In a terminal it shows what the network saw; --show writes that as files; --json prints a list of
objects with `file`, and either `text`, `digits` [{class, probabilities {class: share}, box [x, y, width, height]}] and
`unsure`, or `error`. Exit status 1 when a picture could not be read; the others are read all the same.
"""

import concurrent.futures
import contextlib
import glob
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import MAX_BYTES, UserError, cli, files

import cv2
import numpy as np
from tqdm import tqdm

import results
from deployment import network, picture_files, pictures
from deployment.pictures import Digit

BEST = 3  # probabilities in a line
GUESSES = 2  # where it is not sure
ENLARGED = 10  # times: what was seen, as a file
AHEAD = 64  # pictures that are read before the first of them is printed
SHOWN = 14  # rows and columns of what was seen in a terminal, each of 2 × 2 pixels
BLOCKS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"  # by which of the four quarters have ink
STANDARD_INPUT = "-"

Prediction = dict[str, Any]  # of a picture, as --json prints it
Read = tuple[Prediction, list[Digit]]


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


def predict(reader: network.Network, prediction: Prediction) -> Read:
    """(a complete prediction, or one with an error; the digits that were read)."""
    file, limit, digits = prediction["file"], MAX_BYTES + 1, []
    if "error" in prediction:
        return prediction, []
    try:
        content = sys.stdin.buffer.read(limit) if file == STANDARD_INPUT else files.read(file, limit)
        if len(content) > MAX_BYTES:
            raise UserError(f"{file} has more than {MAX_BYTES >> 20} MB: scale it down, or cut out the digits")
        digits = pictures.read(content, "standard input" if file == STANDARD_INPUT else file, reader)
    except UserError as error:
        return prediction | {"error": str(error)}, []
    each = [as_json(digit, reader.classes) for digit in digits]
    names = [digit["class"] if one.is_sure else "?" for one, digit in zip(digits, each, strict=True)]
    text = "".join(digit.before + name for digit, name in zip(digits, names, strict=True))
    prediction = prediction | {"text": text, "digits": each, "unsure": not all(digit.is_sure for digit in digits)}
    if len(each) == 1:
        prediction |= {key: each[0][key] for key in ("class", "probabilities")}
    return prediction, digits


def as_json(digit: Digit, classes: list[str]) -> Prediction:
    """A digit as --json prints it."""
    probabilities = dict(zip(classes, digit.probabilities.tolist(), strict=True))
    return {"class": max(probabilities, key=probabilities.get), "probabilities": probabilities, "box": digit.box}


def read_all(reader: network.Network, predictions: list[Prediction]) -> Iterator[Read]:
    """Predictions as they come, in their order: a picture each to the processors, a few ahead of what is taken."""
    cv2.setNumThreads(1)  # pictures side by side take less time than parts of one
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = []
        for prediction in predictions:
            waiting.append(pool.submit(predict, reader, prediction))
            if len(waiting) == AHEAD:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def write_seen(folder: Path, number: int, file: str, digits: list[Digit]) -> str:
    """Write what the network saw of a picture into a folder: the name of the file."""
    stem = Path(file).stem.strip(STANDARD_INPUT) or "input"
    seen = np.hstack([digit.pixels for digit in digits])
    path = str(folder / f"{number:03}-{stem}.png")
    enlarged = np.kron(seen, np.ones((ENLARGED, ENLARGED), np.uint8))
    files.replace_file(path, cv2.imencode(".png", enlarged)[1].tobytes())
    return path


def in_blocks(digits: list[Digit], columns: int) -> list[str]:
    """What the network saw as lines of block characters, as many digits side by side as there are columns for."""
    count = max(1, columns // SHOWN)
    lines = []
    for start in range(0, len(digits), count):
        ink = np.hstack([digit.pixels for digit in digits[start : start + count]]) > 96
        quarters = ink[::2, ::2] + 2 * ink[::2, 1::2] + 4 * ink[1::2, ::2] + 8 * ink[1::2, 1::2]
        lines += ["".join(BLOCKS[quarter] for quarter in row).rstrip() for row in quarters if row.any()]
    return lines


def line(prediction: Prediction, width: int) -> str:
    """A prediction as a line. What would command a terminal is left out of the name."""
    name = "".join(filter(str.isprintable, prediction["file"]))
    digits = prediction["digits"]
    if len(digits) > 1:
        text = prediction["text"].replace("\n", " / ")
        shares = " ".join(f"{100 * max(digit['probabilities'].values()):.0f}" for digit in digits)
        return f"{name:{width}}  {text}   ({shares} %)"
    best = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
    best = best[: GUESSES if prediction["unsure"] else BEST]
    shares = "   ".join(f"{name} {100 * share:5.1f} %" for name, share in best)
    return f"{name:{width}}  {'?   ' if prediction['unsure'] else ''}{shares}"


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="a file, folder or pattern, or - (make: IMAGE=)")
    parser.add_argument("--run", type=results.find_run, help="the run that reads (default: the best finished one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--show", action="store_true", help="write what the network saw")
    arguments = parser.parse_args(argv)
    if not arguments.pictures:
        parser.error("which picture? make predict IMAGE=my.png, or python -m deployment.predict my.png")
    reader = network.find(arguments.run)
    predictions = unread_predictions(arguments.pictures)
    width = max(len(each["file"]) for each in predictions)
    done = []
    progress = tqdm(
        read_all(reader, predictions),
        total=len(predictions),
        unit=" pictures",
        leave=False,
        disable=None if len(predictions) > 1 else True,
    )
    for number, (prediction, digits) in enumerate(progress, 1):
        done.append(prediction)
        if arguments.show and digits:
            folder = results.RUNS / reader.name / "predictions"
            prediction["seen"] = write_seen(folder, number, prediction["file"], digits)
        if arguments.json:
            continue
        if "error" in prediction:
            cli.warn("".join(filter(str.isprintable, prediction["error"])), "predict.py")
            continue
        lines = [line(prediction, width)]
        if "seen" in prediction:
            lines.append(f"{'':{width}}  seen as {prediction['seen']}")
        if sys.stdout.isatty():
            lines += in_blocks(digits, cli.columns())
        with tqdm.external_write_mode():
            print("\n".join(lines), flush=True)
    if arguments.json:
        print(json.dumps(done, indent=2, ensure_ascii=False))
    return 1 if any("error" in prediction for prediction in done) else 0


if __name__ == "__main__":
    cli.run(main)
