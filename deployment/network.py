"""The network that reads: an exported one, run by onnxruntime; nothing here needs torch.

    find(None)      the best finished run of one's own, else the best of results/records
    find(run)       that of a run's folder, exported when it is first asked for; or of its recipe's record, if it has
                    not been trained here; or an ONNX file

Beside a network of handwriting reads the detector of results/records/detector.onnx, which tells digits from what is
none (experiments/detector.py).
"""

import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import UserError, cli, files

import numpy as np
import onnxruntime

import results

DETECTOR = results.RECORDS / "detector.onnx"
HANDWRITING = "mnist"  # the data set for which it was trained
TEXTS = ("recipe", "dataset", "commit")  # of the metadata; the others are JSON
BATCH_IMAGES = 256  # in one run of onnxruntime
LEAST = 1e-6  # probability that is told from none


def session(content: bytes) -> onnxruntime.InferenceSession:
    """A session of onnxruntime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class Network:
    """A network of an ONNX file that deployment/onnx_format.py wrote. Raises UserError for any other file."""

    def __init__(self, path: Path, name: str = ""):
        self.path, self.name = path, name or path.stem
        content = files.read(path)
        try:
            self.session = session(content)
            texts = self.session.get_modelmeta().custom_metadata_map
            values = {key: json.loads(value) for key, value in texts.items() if key not in TEXTS}
            self.facts: dict[str, Any] = texts | values
            self.classes: list[str] = self.facts["classes"]
            self.reads_digits: bool = self.facts["dataset"] == HANDWRITING  # strokes, whatever drew them
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise UserError(f"{path} is no network of this program: make export writes one") from error

    def read(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [N, classes], of images, uint8 [N, 28, 28]."""
        parts = np.split(pixels[:, None], range(BATCH_IMAGES, len(pixels), BATCH_IMAGES))
        return np.concatenate([self.session.run(["probabilities"], {"pixels": part})[0] for part in parts])

    def is_sure(self, probabilities: np.ndarray, kinds: np.ndarray | None = None, doubt: float = 0.0) -> np.ndarray:
        """Whether it is sure of what it read, bool [N]: the sureness is above a bound that comes from held-out images,
        and more so by a doubt, in nats, that there is about the images."""
        return sureness(probabilities.max(1), kinds) >= self.facts["threshold"] + doubt


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    bounded = np.clip(probabilities.astype(np.float64), LEAST, 1 - LEAST)
    return np.log(bounded / (1 - bounded))


def sureness(confidences: np.ndarray, kinds: np.ndarray | None = None) -> np.ndarray:
    """How sure a network may be of its best classes, [N], of these probabilities: half of their log-odds, and for
    handwriting the log-odds that the image is a digit, of the detector's probabilities [N, 3]. The half is from the
    development half of experiments/handwriting.py."""
    return 0.5 * log_odds(confidences) + (0 if kinds is None else log_odds(kinds[:, 0]))


@functools.cache
def detector() -> Network:
    """The network that tells what an image of strokes is: classes `digit`, `several` that touch, and `none`."""
    return Network(DETECTOR)


def records() -> list[Network]:
    """The committed networks, those that read digits first, the most accurate first."""
    committed = [Network(path) for path in sorted(results.RECORDS.glob("*.onnx")) if path != DETECTOR]
    return sorted(committed, key=lambda each: (not each.reads_digits, -each.facts["accuracy"]))


def find(run: Path | None = None) -> Network:
    """The network of a run, or of an ONNX file. Without one that of the best finished run, else of the best record.
    Raises UserError where there is none."""
    run = run or next((path for path, _ in results.usable_runs(results.RUNS)), None)
    if not run and (committed := records()):
        return committed[0]
    run = run or results.best_run()  # which tells that there is none
    record = results.RECORDS / f"{run.name.removesuffix('-seed0')}.onnx"
    if record.exists() and not run.exists():
        return Network(record)
    return Network(run) if run.suffix == ".onnx" else Network(export(run), run.resolve().name)


def export(run: Path) -> Path:
    """The exported network of a finished run, made where there is none since the run was trained and its recipe's
    record was written. Raises UserError."""
    path, recipe = run / "export" / "model.onnx", results.load_finished(run)["recipe"]["name"]
    sources = [each for each in (results.results_path(run), results.RECORDS / f"{recipe}.json") if each.exists()]
    if not path.exists() or path.stat().st_mtime < max(each.stat().st_mtime for each in sources):
        if not importlib.util.find_spec("onnxscript"):
            raise UserError(f"{run} was not exported yet, which needs more packages: make export RUN={run}")
        print(f"exporting {run.name} once, so that it can read", file=sys.stderr)
        done = subprocess.run([sys.executable, "-m", "deployment.export", str(run.resolve()), "--quick"], cwd=cli.ROOT)
        if done.returncode:
            raise UserError(f"{run} could not be exported")
    return path
