"""The detector: a small network that tells digits from shapes that are none, which no network of digits alone can, and
from several digits that touch.

    python -m experiments.detector [--data data]

writes results/records/detector.onnx: the probabilities of `digit`, `several` and `none`, by the mean logits of an image
and the four that are shifted by a pixel. A recipe's calibration has the bound below which it says none.

It is outlier exposure (Hendrycks et al., arXiv 1812.04606) by a network of its own: those that read digits lose no
accuracy by it, and any network has it. Digits are training images, also redrawn by other pens, and a plotter's. What is
none are a plotter's letters and signs, polygons, strokes at random, parts of two digits put together, and digits
mirrored or turned. Typefaces and people's drawings are not among them: by those it is measured.
"""

import dataclasses
import string

from support import cli, devices

import cv2
import numpy as np
import torch
from torch import Tensor, nn

import data
import environment
import recipes
from deployment import network, onnx_format, pictures
from evaluate import evaluate
from train import train
from trainer import Trainer

NAME, CLASSES = "digit-or-none", ("digit", "several", "none")
HELD_OUT = 10_000  # training images
AUGMENTATION = {"degrees": 15, "translate": 0.08, "scale": 0.15, "shear": 14}  # wide: other people's digits
REDRAWN, PLOTTED = 40_000, 10_000  # digits
SEVERAL = {"touching": 30_000}
NONE = {"polygon": 4_000, "stroke": 24_000, "letter": 21_000, "mixture": 9_000, "turned": 6_000}
UPRIGHT = (0, 1, 8)  # digits that stay some when they are mirrored or turned
LETTERS = sorted({*string.ascii_letters, *"&@#%?$+=<*^~"} - {*"OoIilSsZzBbGgqc"})  # but for those that look like digits
PLOTTER = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
PLOTTER += (cv2.FONT_HERSHEY_COMPLEX_SMALL, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)
SCALE = 8  # in which shapes are drawn, of 28 × 28 pixels
SIDE = SCALE * pictures.SIDE


class Views(nn.Module):
    """A model's mean logits over an image and the four shifted by a pixel."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        views = [pixels, *(pixels.roll(step, axis) for step in (1, -1) for axis in (2, 3))]
        return self.model(torch.cat(views)).unflatten(0, (len(views), -1)).mean(0)


class Shapes:
    """Shapes at random, each uint8 [28, 28], from digits, uint8 [N, 28, 28], and their labels."""

    def __init__(self, digits: np.ndarray, labels: np.ndarray, seed: int):
        self.digits, self.labels, self.rng = digits, labels, np.random.default_rng(seed)

    def draw(self, counts: dict[str, int]) -> list[np.ndarray]:
        """So many shapes of each kind, by the names of the methods that draw them."""
        return [getattr(self, kind)() for kind, count in counts.items() for _ in range(count)]

    def any_digit(self, without: tuple[int, ...] = ()) -> tuple[np.ndarray, int]:
        """(pixels, label) of a digit that is none of some."""
        while self.labels[index := self.rng.integers(len(self.digits))] in without:
            pass
        return self.digits[index], self.labels[index]

    def redrawn(self, pixels: np.ndarray | None = None) -> np.ndarray:
        """A digit, or other pixels, with edges as sharp as a pen's and strokes of another width."""
        pixels = self.any_digit()[0] if pixels is None else pixels
        soft = cv2.GaussianBlur(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), (0, 0), 3)
        ink, change = np.pad(np.uint8(255) * (soft > 110), 2 * SCALE), int(self.rng.integers(-8, 14))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(change) + 1,) * 2)
        contours, _ = cv2.findContours(ink, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        bend = self.rng.uniform(0, 6)  # some people draw curves with corners
        ink = cv2.fillPoly(np.zeros_like(ink), [cv2.approxPolyDP(each, bend, True) for each in contours], 255)
        ink = cv2.dilate(ink, disc) if change > 0 else cv2.erode(ink, disc)
        return fitted(ink) if ink.any() else pixels

    def plotted(self, characters: str | list[str] = string.digits) -> np.ndarray:
        """A character as a plotter writes it, slanted, turned and stretched a little."""
        ink, font = np.zeros((400, 400), np.uint8), int(self.rng.choice(PLOTTER))
        thickness = int(self.rng.uniform(4, 34))
        cv2.putText(ink, self.rng.choice(list(characters)), (120, 270), font, 6, 255, thickness, cv2.LINE_AA)
        change = np.eye(2) + self.rng.normal(0, 0.12, (2, 2))
        centre = np.array([200, 200])
        return fitted(cv2.warpAffine(ink, np.column_stack([change, centre - change @ centre]), ink.shape))

    def letter(self) -> np.ndarray:
        return self.plotted(LETTERS)

    def stroke(self) -> np.ndarray:
        """One to four lines, curves or ellipses."""
        ink, width = np.zeros((SIDE, SIDE), np.uint8), int(self.rng.uniform(1.2, 4) * SCALE)
        for _ in range(self.rng.integers(1, 5)):
            if self.rng.random() < 0.2:
                centre, axes = self.rng.uniform(8, 20, 2), self.rng.uniform(2, 9, 2)
                end = 360 if self.rng.random() < 0.6 else self.rng.uniform(120, 300)
                places = [tuple((SCALE * each).astype(int).tolist()) for each in (centre, axes)]
                cv2.ellipse(ink, *places, self.rng.uniform(0, 180), 0, end, 255, width, cv2.LINE_AA)
            else:
                line = np.round(SCALE * self.line()).astype(np.int32)
                cv2.polylines(ink, [line], False, 255, width, cv2.LINE_AA)
        return fitted(ink)

    def polygon(self) -> np.ndarray:
        """A closed outline with three or four corners around its middle."""
        ink, count = np.zeros((SIDE, SIDE), np.uint8), self.rng.integers(3, 5)
        turn = 2 * np.pi * (np.arange(count) + self.rng.normal(0, 0.12, count) + self.rng.random()) / count
        corners = SIDE / 2 + self.rng.uniform(60, 95, 2) * np.stack([np.cos(turn), np.sin(turn)], 1)
        width = int(self.rng.uniform(1.2, 4) * SCALE)
        cv2.polylines(ink, [corners.round().astype(np.int32)], True, 255, width, cv2.LINE_AA)
        return fitted(ink)

    def touching(self) -> np.ndarray:
        """Two digits or three side by side, which touch or nearly do."""
        row = self.part()
        for _ in range(1 + (self.rng.random() >= 0.8)):
            other, far = self.part(), 2 * SIDE
            right = np.where(row > 127, np.arange(row.shape[1]), -far).max(1)
            left = np.where(other > 127, np.arange(other.shape[1]), far).min(1)
            start = max(row.shape[1] // 3, int((right - left).max() + self.rng.integers(-4, 4)))
            wide = np.zeros((len(row), max(row.shape[1], start + other.shape[1])), np.uint8)
            wide[:, : row.shape[1]] = row
            wide[:, start : start + other.shape[1]] = np.maximum(wide[:, start : start + other.shape[1]], other)
            row = wide
        return fitted(row)

    def part(self) -> np.ndarray:
        """A digit of a row, uint8 [56, w]; no 1, as two of them that touch are a V."""
        kind, (digit, _) = self.rng.random(), self.any_digit(without=(1,))
        digit = self.plotted("02345679") if kind < 0.2 else self.redrawn(digit) if kind < 0.6 else digit
        content = pictures.trimmed(digit.astype(np.float32) / 255)
        height, aspect = int(self.rng.uniform(34, 44)), content.shape[1] / content.shape[0]
        width = max(4, round(height * aspect * self.rng.uniform(0.8, 1.2)))
        if aspect > 1.4:  # a dash
            return self.part()
        drawn = cv2.resize(content, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        top = int(self.rng.integers(2, 55 - height))
        return np.pad(np.uint8(255 * drawn), [(top, 56 - height - top), (0, 0)])

    def line(self) -> np.ndarray:
        """The points of a line with corners, which may be closed, or without, [N, 2] in pixels."""
        corners = self.rng.uniform(4, 24, (self.rng.integers(2, 6), 2))
        if len(corners) == 2 or self.rng.random() < 0.4:
            return corners[[*range(len(corners)), 0]] if self.rng.random() < 0.5 else corners
        places = np.linspace(0, len(corners) - 1, 24)
        dense = np.column_stack([np.interp(places, np.arange(len(corners)), column) for column in corners.T])
        return cv2.blur(np.ascontiguousarray(dense), (1, 7), borderType=cv2.BORDER_REPLICATE)

    def mixture(self) -> np.ndarray:
        """Half of a digit with half of another, or one upon the other."""
        first, label = self.any_digit()
        second, _ = self.any_digit(without=(label,))
        how, half, mixed = self.rng.random(), pictures.SIDE // 2, first.copy()
        if how < 0.7:
            part = np.s_[half:] if how < 0.35 else np.s_[:, half:]
            mixed[part] = second[part]
        else:
            mixed = np.maximum(first, np.roll(second, self.rng.integers(-4, 5, 2), (0, 1)))
        return self.redrawn(mixed) if self.rng.random() < 0.5 else fitted(mixed)

    def turned(self) -> np.ndarray:
        """A digit that is none when it is mirrored, or turned by a right angle."""
        pixels, _ = self.any_digit(without=UPRIGHT)
        changed = np.ascontiguousarray(pixels[:, ::-1] if self.rng.random() < 0.5 else np.rot90(pixels))
        return self.redrawn(changed) if self.rng.random() < 0.5 else changed


def fitted(ink: np.ndarray) -> np.ndarray:
    """Ink, uint8 [H, W], as a network sees it: uint8 [28, 28]."""
    content = pictures.trimmed(ink.astype(np.float32) / 255)
    return pictures.fitted(content, pictures.BOX, True)


def examples(digits: data.Images) -> data.Images:
    """Digits, labelled 0, several that touch, 1, and what is none, 2."""
    shapes = Shapes(digits.pixels[:, 0].numpy(), digits.labels.numpy(), 0)
    drawn = [shapes.draw(counts) for counts in ({"redrawn": REDRAWN, "plotted": PLOTTED}, SEVERAL, NONE)]
    pixels = torch.cat([digits.pixels, *(torch.from_numpy(np.stack(each))[:, None] for each in drawn)])
    labels = torch.repeat_interleave(torch.tensor([0, 0, 1, 2]), torch.tensor([len(digits), *map(len, drawn)]))
    return data.Images(pixels, labels)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_data()
    data_dir = parser.parse_args(argv).data
    device = devices.prepare("cpu")
    mnist = data.get_dataset(network.HANDWRITING)
    digits, held_out = data.split(data.load(network.HANDWRITING, data_dir, "train"), HELD_OUT, 0)
    data.DATASETS[NAME] = dataclasses.replace(mnist, classes=CLASSES)
    changes = {"dataset": NAME, "epochs": 7, "keep": 1.0, "label_smoothing": 0.0, **AUGMENTATION}
    trainer = Trainer(recipes.get_recipe("default", **changes), 0, device, examples(digits))
    train(trainer, None, lambda evaluation: print(f"{evaluation.accuracy:.2f} % of examples held out"))
    evaluation = evaluate(trainer.eval_model, data.Images(held_out.pixels, 0 * held_out.labels), CLASSES)
    print(f"{evaluation.accuracy:.2f} % of {HELD_OUT:,} digits held out")
    facts = {"recipe": "default", "dataset": NAME, "classes": CLASSES, "parameters": trainer.total_parameters}
    facts |= {"commit": environment.commit()}
    onnx_format.write(network.DETECTOR, Views(trainer.eval_model), mnist.input_shape, facts)
    print(network.DETECTOR)


if __name__ == "__main__":
    cli.run(main)
