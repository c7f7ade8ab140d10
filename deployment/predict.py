"""Predict: a network reads pictures of one's own.

    python -m deployment.predict my.png [more files, folders, "*.jpg", -] [--run RUN] [--json]

prints a line for each picture: the file and its text, with the probability of each digit; for a single one, its three
most probable classes. `?` is where the network is not sure. Without --run the best finished run reads, or else the best
committed network. In a terminal it shows what the network saw; --json prints a list of objects with `file`, and either
`text`, `digits` [{class, probabilities {class: share}, box [x, y, width, height]}] and `unsure`, or `error`. The exit
status is 1 when a picture could not be read; the others are read all the same.
"""

import concurrent.futures
import contextlib
import functools
import json
import os
import re
import sys
from typing import Any

from support import MAX_BYTES, UserError, cli, files

import cv2
import numpy as np
from tqdm import tqdm

import results
from deployment import network, picture_files, pictures

BEST, GUESSES = 3, 2  # probabilities in a line, and where it is not sure
SHOWN = 14  # columns of a digit in a terminal, each of 2 × 2 pixels
BLOCKS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"  # by which of the four have ink
STANDARD_INPUT = "-"

Prediction = dict[str, Any]  # of a picture, as --json prints it


def named_files(words: list[str]) -> list[str]:
    """The files that the words of a command line name, in their order. A word that is none may be several, as make
    hands on IMAGE="scans/ 'my seven.jpg'": quotes keep a name together."""
    names = []
    for word in words:
        is_one = os.path.exists(picture_files.paths(word)[0])
        parts = [word] if is_one else map("".join, re.findall(r"'(.+?)'|(\S+)", word))
        names += [path for part in parts for path in picture_files.paths(part)]
    return names


def content(file: str) -> bytes:
    """What a file holds, or standard input. Raises UserError where that cannot be read, or is too much."""
    if os.path.isdir(file):
        raise UserError(f"there are no pictures in {file}: expected files such as .png and .jpg directly in it")
    read = sys.stdin.buffer.read(MAX_BYTES + 1) if file == STANDARD_INPUT else files.read(file, MAX_BYTES + 1)
    if len(read) > MAX_BYTES:
        raise UserError(f"{file} has more than {MAX_BYTES >> 20} MB: scale it down, or cut out the digits")
    return read


def predict(reader: network.Network, file: str) -> tuple[Prediction, np.ndarray | None]:
    """(the prediction for a picture; what the network saw, uint8 [28, 28 × digits]) or (an error; None)."""
    try:
        digits = pictures.read(content(file), "standard input" if file == STANDARD_INPUT else file, reader)
    except UserError as error:
        return {"file": file, "error": str(error)}, None
    each, text = [], ""
    for digit in digits:
        probabilities = dict(zip(reader.classes, digit.probabilities.tolist(), strict=True))
        best = max(probabilities, key=probabilities.get)
        each.append({"class": best, "probabilities": probabilities, "box": digit.box})
        text += digit.before + (best if digit.is_sure else "?")
    prediction = {"file": file, "text": text, "digits": each, "unsure": not all(digit.is_sure for digit in digits)}
    if len(each) == 1:
        prediction |= {key: each[0][key] for key in ("class", "probabilities")}
    return prediction, np.hstack([digit.pixels for digit in digits])


def in_blocks(seen: np.ndarray, columns: int) -> list[str]:
    """What the network saw as lines of block characters, as many digits side by side as there are columns for."""
    ink = seen > 96
    quarters = ink[::2, ::2] + 2 * ink[::2, 1::2] + 4 * ink[1::2, ::2] + 8 * ink[1::2, 1::2]
    width = max(1, columns // SHOWN) * SHOWN
    parts = [quarters[:, start : start + width] for start in range(0, quarters.shape[1], width)]
    return ["".join(BLOCKS[quarter] for quarter in row).rstrip() for part in parts for row in part if row.any()]


def printable(text: str) -> str:
    """A text without what would command a terminal."""
    return "".join(filter(str.isprintable, text))


def line(prediction: Prediction, width: int) -> str:
    """A prediction as a line, its file's name so many characters wide."""
    start, digits = f"{printable(prediction['file']):{width}}  ", prediction["digits"]
    if len(digits) > 1:
        shares = " ".join(f"{100 * max(digit['probabilities'].values()):.0f}" for digit in digits)
        return start + f"{prediction['text']}   ({shares} %)".replace("\n", " / ")
    best = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
    best = best[: GUESSES if prediction["unsure"] else BEST]
    return start + "?   " * prediction["unsure"] + "   ".join(f"{name} {100 * share:5.1f} %" for name, share in best)


def report(prediction: Prediction, seen: np.ndarray | None, width: int) -> None:
    """Print a prediction; in a terminal with what the network saw."""
    if seen is None:
        cli.warn(printable(prediction["error"]), "predict.py")
        return
    blocks = in_blocks(seen, cli.columns()) if sys.stdout.isatty() else []
    print(line(prediction, width), *blocks, sep="\n", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="a file, folder or pattern, or - (make: IMAGE=)")
    parser.add_argument("--run", type=results.find_run, help="the run that reads (default: the best finished one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    names = named_files(arguments.pictures)
    if not names:
        parser.error("which picture? make predict IMAGE=my.png, or python -m deployment.predict my.png")
    reader, width, done = network.find(arguments.run), max(map(len, names)), []
    if arguments.run is None and reader.path.parent == results.RECORDS:
        print(f"{reader.name} reads, of the committed networks: there is no run of your own yet", file=sys.stderr)
    cv2.setNumThreads(1)  # pictures side by side take less time than parts of one
    with (
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        contextlib.closing(pool.map(functools.partial(predict, reader), names)) as reads,
    ):
        # In a terminal, where it takes longer than a second.
        for prediction, seen in tqdm(reads, total=len(names), unit=" pictures", leave=False, disable=None, delay=1):
            done.append(prediction)
            if not arguments.json:
                with tqdm.external_write_mode():
                    report(prediction, seen, width)
    if arguments.json:
        print(json.dumps(done, indent=2, ensure_ascii=False))
    return 1 if any("error" in prediction for prediction in done) else 0


if __name__ == "__main__":
    cli.run(main)
