"""Export: a run's network as ONNX, as safetensors with a model card, and as a C99 header for microcontrollers.

    python -m deployment.export [results/default-seed0] [--data data]      the best finished run where none is named

writes model.onnx, model.safetensors, config.json, README.md (the card) and mnist20k.h into the run's folder export/.
Every format then reads all images that the run was evaluated on: ONNX must say the same as the checkpoint, with logits
within 1e-4, safetensors exactly the same, and the header, in 8-bit weights, get as many right within 0.05 points. What
was found is printed and written to export.json; exit status 1 when a format falls short. Without a C compiler, or with
operators that the header does not have, the header alone is left out, with a warning.
"""

import dataclasses
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files

import numpy as np
import torch
from torch import nn

import checkpoint
import data
import environment
import results
from deployment import c_header, onnx_format, safetensors_format
from evaluate import Evaluation, evaluate, load_images
from model import float_tensors
from verdict import Rule, format_rules

LOGITS_TOLERANCE = 1e-4
POINTS_TOLERANCE = 0.05  # of accuracy, in percent, that 8-bit weights may cost or gain
CALIBRATION_IMAGES = 1000
TIMED_IMAGES = 300


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its deployable model on the CPU, its checkpoint's state, its results."""

    folder: Path
    model: nn.Module
    state: dict[str, Any]
    result: results.Result

    @property
    def export_dir(self) -> Path:
        return self.folder / "export"

    def metadata(self) -> dict[str, str]:
        """What is written into model.onnx; `weights` is a sum that tells of which weights it was made."""
        part, accuracy, _, _ = results.final_figures(self.result)
        weights = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in float_tensors(self.model)))
        return {
            "recipe": self.state["recipe"]["name"],
            "seed": str(self.state["seed"]),
            "dataset": self.state["recipe"]["dataset"],
            "parameters": str(self.result["total_parameters"]),
            f"{part}_accuracy": f"{accuracy:.2f}",
            "classes": json.dumps(self.state["classes"], ensure_ascii=False),
            "commit": self.result["environment"]["commit"],
            "weights": weights.hexdigest(),
        }


def load_run(run_dir: Path) -> Run:
    """A finished run. Raises UserError for one that is not, or has no checkpoint."""
    folder, _ = checkpoint.locate(run_dir)
    result = results.read(folder)
    if result is None:
        raise UserError(f"no results.json in {folder}: make train")
    if not result["finished"]:
        raise UserError(f"{folder} is not finished: make train resumes it")
    model, state = checkpoint.load_model(folder)
    return Run(folder, model.to(memory_format=torch.contiguous_format), state, result)


def onnx_path(run: Run) -> Path:
    """The run's model.onnx, written where it is missing or of other weights."""
    path, metadata = run.export_dir / "model.onnx", run.metadata()
    if not path.exists() or onnx_format.metadata(path) != metadata:
        onnx_format.write(path, run.model, run.state["input_shape"], metadata)
    return path


def seconds_per_image(call: Callable[[Any], Any], images: list[Any]) -> float:
    """The median time of a call with one image."""
    seconds = []
    for image in images[:TIMED_IMAGES]:
        start = time.perf_counter()
        call(image)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def facts(path: Path, evaluation: Evaluation, reference: Evaluation, microseconds: float | None) -> dict[str, Any]:
    """What every format tells of itself, and how far it agrees with the checkpoint."""
    content = files.read(path)
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "accuracy": evaluation.accuracy,
        "read_otherwise": int((evaluation.predictions != reference.predictions).sum()),
        "microseconds_per_image": microseconds,
    }


def exported_onnx(run: Run, images: data.Images, reference: Evaluation) -> tuple[dict[str, Any], Rule]:
    """(figures, rule) of model.onnx."""
    path, pixels = onnx_path(run), images.pixels.numpy()
    session = onnx_format.session(files.read(path))
    logits = torch.from_numpy(session.run(["logits"], {"pixels": pixels})[0])
    seconds = seconds_per_image(lambda image: session.run(None, {"pixels": image}), np.split(pixels, len(pixels)))
    found = facts(path, Evaluation(logits, images.labels, reference.classes), reference, 1e6 * seconds)
    found["logits_within"] = (logits - reference.logits).abs().max().item()
    passed = found["read_otherwise"] == 0 and found["logits_within"] <= LOGITS_TOLERANCE
    return found, rule(path, found, f"logits within {found['logits_within']:.1e}", passed)


def exported_safetensors(run: Run, images: data.Images, reference: Evaluation) -> tuple[dict[str, Any], Rule]:
    """(figures, rule) of model.safetensors."""
    path = run.export_dir / "model.safetensors"
    safetensors_format.write(run.export_dir, run.model, run.state, run.result)
    model = safetensors_format.load(run.export_dir)
    evaluation = evaluate(model, images, reference.classes)
    with torch.inference_mode():
        seconds = seconds_per_image(model, list(images.to_float().split(1)))
    found = facts(path, evaluation, reference, 1e6 * seconds)
    equal = torch.equal(evaluation.logits, reference.logits)
    return found, rule(path, found, "logits equal" if equal else "other logits", equal)


def exported_header(
    run: Run, training: data.Images, images: data.Images, reference: Evaluation
) -> tuple[dict[str, Any], Rule]:
    """(figures, rule) of mnist20k.h, made of model.onnx. Raises Unavailable where this network or this machine cannot
    have it."""
    path, classes = run.export_dir / "mnist20k.h", list(reference.classes)
    path.unlink(missing_ok=True)
    title = f"{run.folder.name}: {len(classes)} classes of {run.state['recipe']['dataset']}"
    calibration = training.pixels[:CALIBRATION_IMAGES].numpy()
    sizes = c_header.write(path, files.read(onnx_path(run)), calibration, title, classes)
    probabilities, microseconds = c_header.outputs(path, images.pixels.numpy(), len(classes))
    evaluation = Evaluation(torch.from_numpy(probabilities).log(), images.labels, reference.classes)
    found = facts(path, evaluation, reference, microseconds) | sizes | c_header.compiled_sizes(path)
    passed = abs(evaluation.accuracy - reference.accuracy) <= POINTS_TOLERANCE
    flash = found.get("flash_bytes", sizes["weight_bytes"] + sizes["table_bytes"])
    more = f"{flash / 1000:.1f} kB of flash, {sizes['buffer_bytes'] / 1000:.1f} kB of memory"
    return found, rule(path, found, more, passed)


def rule(path: Path, found: dict[str, Any], more: str, passed: bool) -> Rule:
    """The rule of a format, with its figures in a line."""
    count = found["read_otherwise"]
    alike = f"{count} read otherwise" if count else "all read alike"
    figures = [f"{found['accuracy']:.2f} %, {alike}", more, f"{found['microseconds_per_image']:.0f} µs per image"]
    return Rule(path.name, "; ".join([*figures, f"{found['bytes'] / 1000:.1f} kB"]), passed)


def export(run: Run, data_dir: Path) -> tuple[dict[str, Any], list[Rule]]:
    """Write and verify every format: (content of export.json, a rule for each format). Warns of a header that cannot
    be had."""
    training, images = load_images(run.state, data_dir, torch.device("cpu"))
    reference = evaluate(run.model, images, tuple(run.state["classes"]))
    torch.set_num_threads(1)  # for the times of one image
    exported = {
        "model.onnx": exported_onnx(run, images, reference),
        "model.safetensors": exported_safetensors(run, images, reference),
    }
    try:
        exported["mnist20k.h"] = exported_header(run, training, images, reference)
    except c_header.Unavailable as error:
        cli.warn(f"no mnist20k.h: {error}")
    summary = {
        "run": run.folder.name,
        **{key: value for key, value in run.metadata().items() if key != "classes"},
        "images": len(images),
        "accuracy": reference.accuracy,
        "environment": environment.describe(torch.device("cpu"), "float32"),
        "formats": {name: found for name, (found, _) in exported.items()},
    }
    return summary, [rule for _, rule in exported.values()]


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", nargs="?", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_data()
    arguments = parser.parse_args(argv)
    devices.prepare()
    run = load_run(arguments.run or results.best_run())
    summary, rules = export(run, arguments.data)
    files.write_json(run.export_dir / "export.json", summary)
    print(f"{run.folder.name}: {summary['accuracy']:.2f} % of {summary['images']:,} images, by the checkpoint")
    print(format_rules(rules))
    print(f"\n{run.export_dir}")
    return 0 if all(rule.passed for rule in rules) else 1


if __name__ == "__main__":
    sys.exit(cli.run(main))
