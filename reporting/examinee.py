"""The verdict on a student's best run, in a process of its own, in which the student's code runs: see grade.py.

    python -m reporting.examinee FOLDER DATA DATASET BOUNDS ANSWER

Of the student are model.py and the run; all else, the images too, is of this checkout.
"""

import importlib.util
import json
import math
import sys
import threading
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files, processes, sanity
from support.rule import Rule

import msgspec

import checkpoint
import model
import results
import verdict
from evaluate import Evaluation, evaluate, load_images

TRAINING_IMAGES = 10_000  # read beside the test images


def unseen(tested: Evaluation, trained: Evaluation) -> Rule:
    """The rule that test images are read no better than training images, beyond four standard deviations: what does was
    trained on them, or knows their labels."""
    chance = math.hypot(*(high - low for low, high in (tested.accuracy_ci95, trained.accuracy_ci95)))
    passed = tested.accuracy - trained.accuracy <= chance
    return Rule("unseen", f"{tested.accuracy:.2f} % of test, {trained.accuracy:.2f} % of training images", passed)


def examine(folder: Path, data_dir: Path, dataset: str, bounds: dict[str, float]) -> dict[str, Any]:
    """{run, accuracy in percent, rules} of a student. Raises UserError without a run on that data set, and for what the
    student's code raises."""
    runs = results.usable_runs(folder / "results")
    tested = [run for run, result in runs if "final_test_accuracy" in result and result["recipe"]["dataset"] == dataset]
    if not tested:
        raise UserError(f"results/ has no finished run on {dataset} with checkpoints: make train, without HOLDOUT")
    with sanity.told("model.py"):
        spec = importlib.util.spec_from_file_location("student", folder / "model.py")
        student = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(student)
        model.ARCHITECTURES.clear()
        model.ARCHITECTURES.update(student.ARCHITECTURES)
        network, state = checkpoint.load_model(tested[0])
        parts = load_images(state, data_dir, "cpu")
        trained, evaluation = (evaluate(network, part[:TRAINING_IMAGES], tuple(state["classes"])) for part in parts)
        rules = [*verdict.judge(tested[0], data_dir, "cpu", evaluation, **bounds), unseen(evaluation, trained)]
    return {"run": tested[0].name, "accuracy": evaluation.accuracy, "rules": rules}


def main() -> None:
    folder, data_dir, dataset, bounds, answer = sys.argv[1:]
    threading.Thread(target=processes.end_with_parent, daemon=True).start()
    devices.prepare()
    row = examine(Path(folder), Path(data_dir), dataset, json.loads(bounds))
    files.replace_file(answer, msgspec.json.encode(row))


if __name__ == "__main__":
    cli.run(main)
