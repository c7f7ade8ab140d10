"""Export: a run's network as ONNX, as safetensors with a model card, and as a C99 header for microcontrollers.

    python -m deployment.export [results/default-seed0] [--data data] [--quick]   the best finished run if none is named

writes model.onnx, model.safetensors, config.json, README.md (the card), mnist20k.h, and firmware/, which builds and
tests itself, into the run's folder export/.
Every format then reads all images that the run was evaluated on: ONNX must say the same as the checkpoint, with logits
within 1e-4, safetensors exactly the same, and the header, in 8-bit weights, read one image in 200 otherwise at most.
What was found is printed and written to export.json; exit status 1 when a format falls short. One that this network or
this machine cannot have is left out, with a warning. --quick writes what predict and demo need, unverified: model.onnx,
and page.json with the verdict and the mistakes that the page shows.
"""

import base64
import dataclasses
import shutil
from pathlib import Path
from typing import Any

from support import cli, devices, files

import torch
from torch import Tensor

import checkpoint
import environment
import results
import verdict
from deployment import c_header, network, onnx_format, safetensors_format
from deployment.onnx_format import Unavailable
from evaluate import Evaluation, evaluate, evaluate_run, load_images, load_tested
from verdict import Rule, format_rules

LOGITS_TOLERANCE = {"model.onnx": 1e-4, "model.safetensors": 0.0}
OTHERWISE_TOLERANCE = 1 / 200  # of the images, which 8-bit weights may read otherwise
CALIBRATION_IMAGES = 1000
MISTAKES = 60  # on the demo's page: more are not leafed through


class Run:
    """A finished run: its deployable model on the CPU, its checkpoint's state, its results, the images on which it was
    trained and evaluated, and what the model makes of the latter. Raises UserError for one that is not finished, or has
    no checkpoint."""

    def __init__(self, run_dir: Path, data_dir: Path):
        self.data_dir, (self.folder, _) = data_dir, checkpoint.locate(run_dir)
        self.result = results.load_finished(self.folder)
        self.model, self.state = checkpoint.load_model(self.folder)
        self.model.to(memory_format=torch.contiguous_format)
        self.images = load_tested(self.state, data_dir, "cpu")
        self.reference = evaluate_run(self.model, self.state, self.images)

    def facts(self) -> dict[str, Any]:
        """What an export and the demo say of it; accuracies in percent. Its recipe's record has the temperature of its
        probabilities, and the threshold below which they are no answer."""
        part, accuracy, interval, _ = results.final_figures(self.result)
        return {
            "recipe": self.state["recipe"]["name"],
            "seed": self.state["seed"],
            "dataset": self.state["recipe"]["dataset"],
            "classes": self.state["classes"],
            "parameters": self.result["total_parameters"],
            "epochs": self.result["total_epochs"],
            "seconds": self.result["training_time"],
            "holdout": part == "validation",
            "images": self.result["evaluated_images"],
            "misclassified": len(self.result["misclassified"]),
            "accuracy": accuracy,
            "accuracy_ci95": interval,
            "commit": self.result["environment"]["commit"],
            **results.calibration(self.state["recipe"]["name"]),
        }


def write_page(run: Run) -> None:
    """Write page.json, what the demo's page shows besides the facts: the verdict, and the most confident mistakes,
    whose pixels are base64 of uint8 [H, W]."""
    mistakes = [
        run.reference.mistake(index) | {"pixels": base64.b64encode(run.images.pixels[index].numpy().tobytes()).decode()}
        for index in run.reference.misclassified[:MISTAKES]
    ]
    rules = [dataclasses.asdict(rule) for rule in verdict.judge(run.folder, run.data_dir, "cpu", run.reference)]
    files.write_json(run.folder / "export" / "page.json", {"rules": rules, "mistakes": mistakes})


def read_by_onnx(run: Run, path: Path) -> tuple[Tensor, dict[str, Any]]:
    """(logits, further figures) of model.onnx. Raises Unavailable for a network that torch cannot trace."""
    onnx_format.write(path, run.model, run.state["input_shape"], run.facts())
    (logits,) = network.session(files.read(path)).run(["logits"], {"pixels": run.images.pixels.numpy()})
    return torch.from_numpy(logits) * run.reference.temperature, {}


def read_by_safetensors(run: Run, path: Path) -> tuple[Tensor, dict[str, Any]]:
    """(logits, further figures) of model.safetensors."""
    safetensors_format.write(path.parent, run.model, run.state, run.result)
    return evaluate(safetensors_format.load(path.parent), run.images, run.reference.classes).logits, {}


def read_by_header(run: Run, path: Path) -> tuple[Tensor, dict[str, Any]]:
    """(log-probabilities, further figures) of mnist20k.h, made of the model.onnx beside it. Raises Unavailable where
    this network or this machine cannot have it."""
    onnx_path = path.with_name("model.onnx")
    if not onnx_path.exists():
        raise Unavailable(f"it is made of {onnx_path.name}")
    labels, pixels, classes = run.images.labels, run.images.pixels.numpy(), run.state["classes"]
    training, _ = load_images(run.state, run.data_dir, torch.device("cpu"))
    right = (run.reference.predictions == labels).nonzero().flatten()
    surest = right[run.reference.confidences[right].argsort()].tolist()
    digits = {int(labels[index]): pixels[index] for index in surest}  # of each class the last, of which it is surest
    title = f"{run.folder.name}: {len(classes)} classes of {run.state['recipe']['dataset']}"
    content, calibration = files.read(onnx_path), training.pixels[:CALIBRATION_IMAGES].numpy()
    figures = c_header.write(path, content, calibration, digits, title, classes)
    probabilities, figures["self_test_passed"] = c_header.measured(path, pixels, len(classes))
    return torch.from_numpy(probabilities).log(), figures


FORMATS = {"model.onnx": read_by_onnx, "model.safetensors": read_by_safetensors, "mnist20k.h": read_by_header}


def compared(path: Path, logits: Tensor, figures: dict[str, Any], reference: Evaluation) -> tuple[dict, Rule]:
    """(what export.json says of a format, its rule): how far it agrees with the checkpoint."""
    evaluation, size = Evaluation(logits, reference.labels, reference.classes), path.stat().st_size
    count = int((evaluation.predictions != reference.predictions).sum())
    entry = {"bytes": size, "accuracy": evaluation.accuracy, "read_otherwise": count, **figures}
    if path.name in LOGITS_TOLERANCE:
        within = entry["logits_within"] = (logits - reference.logits).abs().max().item()
        passed = count == 0 and within <= LOGITS_TOLERANCE[path.name]
        more = f"logits within {within:.1e}" if within else "logits equal"
    else:
        passed = count <= OTHERWISE_TOLERANCE * len(reference.labels) and figures["self_test_passed"]
        more = "{constant_bytes:,} bytes of constants, {buffer_bytes:,} of memory, {multiply_adds:,} multiply-adds"
        more = more.format(**figures) + ("" if figures["self_test_passed"] else "; its self-test fails")
    alike = f"{count} read otherwise" if count else "all read alike"
    return entry, Rule(path.name, f"{evaluation.accuracy:.2f} %, {alike}; {more}; {size / 1000:.1f} kB", passed)


def export(run: Run) -> tuple[dict[str, Any], list[Rule]]:
    """Write and verify every format: ({format: what export.json says of it}, a rule for each). Warns of one that cannot
    be had."""
    entries, rules = {}, []
    shutil.rmtree(run.folder / "export" / "firmware", ignore_errors=True)
    for name, read in FORMATS.items():
        path = run.folder / "export" / name
        path.unlink(missing_ok=True)  # of other weights
        try:
            entries[name], rule = compared(path, *read(run, path), run.reference)
            rules.append(rule)
        except Unavailable as error:
            cli.warn(f"no {name}: {error}")
    return entries, rules


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", nargs="?", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_data()
    parser.add_argument("--quick", action="store_true", help="only what predict and demo need, unverified")
    arguments = parser.parse_args(argv)
    device = devices.prepare("cpu")
    run = Run(arguments.run or results.best_run(), arguments.data)
    folder = run.folder / "export"
    write_page(run)
    if arguments.quick:
        onnx_format.write(folder / "model.onnx", run.model, run.state["input_shape"], run.facts())
        return 0
    entries, rules = export(run)
    content = {"run": run.folder.name, **run.facts(), "environment": environment.describe(device, "float32")}
    files.write_json(folder / "export.json", content | {"formats": entries})
    print(f"{run.folder.name}: {run.reference.accuracy:.2f} % of {len(run.images):,} images, by the checkpoint")
    print(format_rules(rules))
    print(f"\n{folder}")
    return 0 if all(rule.passed for rule in rules) else 1


if __name__ == "__main__":
    cli.run(main)
