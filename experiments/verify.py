"""Verify records: whether what results/records says is what the weights there compute.

    python -m experiments.verify                   every record, a line each; exit status 1 where something is not so
    python -m experiments.verify fast [--train]    that of a recipe; with --train its first seed is trained again

The rules are run, parameters counted, means and intervals computed again, and the weights of every seed read all test
images. docs/records.md has what this cannot see.
"""

import dataclasses
import itertools
import reprlib
import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files, identity, intervals, sanity
from support.rule import Rule, below, mark

import numpy as np
import torch
from torch import Tensor, nn

import checkpoint
import data
import environment
import recipes
import results
from deployment.network import Network
from evaluate import Evaluation, evaluate
from experiments import records
from experiments.weights import REMEDY, Weights, deployed, load_weights, sums
from recipes import Recipe
from reporting import standings
from reporting.standings import Record
from verdict import PARAMETER_LIMIT, build_model, model_rules

LOSS_TOLERANCE = 1e-5  # other processors change a loss by 1e-7; two seeds of a record differ by 3e-5 and more
ALIKE = 0.05  # root mean square by which logits differ, as a share of theirs; it is 0.15 and more between two seeds
PROBABILITY_TOLERANCE = 1e-3


def load_record(path: Path) -> Record:
    """The record in a file. Raises UserError where that holds none, or that of another recipe."""
    record = files.convert(files.read_json(path, REMEDY), Record, path, REMEDY)
    if recipes.from_stored(record["recipe"]).name != path.stem:
        raise UserError(f"{path} is of the recipe {record['recipe'].get('name')!r}: {REMEDY}")
    return record


def is_close(said: Any, found: Any, atol: float = 0, rtol: float = 0) -> bool:
    """Whether numbers, lists of them, or None are the same but for a tolerance."""
    said, found = np.array(said, float), np.array(found, float)
    return said.shape == found.shape and np.allclose(said, found, rtol, atol, equal_nan=True)


def figure_faults(record: Record) -> Iterator[str]:
    """What is wrong by the record alone: its seeds, what its runs come to, the code and the machine."""
    seeds = [run["seed"] for run in record["runs"]]
    if seeds != list(range(len(seeds))):
        yield f"the seeds are {', '.join(map(str, seeds))}: a record has all from 0 on, each once"
    if len(seeds) < standings.SEEDS:
        yield f"seeds: {len(seeds)}, of which a record has {standings.SEEDS} at least"
    for category in standings.categories().values():
        if category.entry == record["recipe"]["name"]:
            yield from (f"{category.title}: {rule.measured}" for rule in category.bounds(record) if not rule.passed)
    expected = records.mean_figures([run["final_test_accuracy"] for run in record["runs"]])
    expected["total_epochs"] = record["recipe"]["epochs"]
    for name, value in expected.items():
        if not is_close(record[name], value, rtol=1e-9):
            said, found = (np.round(np.array(each, float), 4).tolist() for each in (record[name], value))
            yield f"{name} is {said}, by the runs {found}"
    commit = record["environment"]["commit"]
    if commit == "unknown" or commit.endswith("-dirty"):
        yield f"the commit is {commit}: a record is of committed code"
    elif environment.is_foreign(commit):
        yield f"the commit {commit} is not in this repository"
    if "capability" not in record["environment"]:
        yield "no capability in the environment: a record names the processor's instruction set"


def weight_faults(record: Record, weights: Weights) -> Iterator[str]:
    """Where the weights are not those that were written with the record."""
    seeds = [run["seed"] for run in record["runs"]]
    for key, said in {"recipe": record["recipe"], "environment": record["environment"], "seeds": seeds}.items():
        if said != weights.facts[key]:
            yield f"{key} of the weights: not as in the record"
    for seed, *both in zip(seeds, sums(weights.tensors), weights.facts["sums"], strict=True):
        if len(set(both)) > 1:
            yield f"seed {seed}: the weights do not have their sum"


def count_fitted(network: nn.Module, state: dict[str, Tensor]) -> int:
    """The values of a network, as it is built, that its training fitted: the parameters, frozen or not, and the buffers
    that this state has otherwise, but for the statistics of BatchNorm."""
    fitted = list(network.parameters())
    for path, module in network.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            buffers = module.named_buffers(path, recurse=False)
            fitted += [buffer for name, buffer in buffers if name in state and not torch.equal(buffer, state[name])]
    return sum(tensor.numel() for tensor in fitted)


def network_faults(recipe: Recipe, record: Record, weights: Weights) -> Iterator[str]:
    """Where the network that the recipe builds breaks a rule, or is not the one that was trained."""
    deployed(recipe, weights, 0)
    shape, network = data.get_dataset(recipe.dataset).input_shape, build_model(recipe)
    if not identity.is_same(weights.facts["identity"], identity.identify(lambda: build_model(recipe), shape)):
        yield f"{recipe.architecture!r} in model.py computes something else than when it was trained"
    count = count_fitted(network, {name: tensor[0] for name, tensor in weights.tensors.items()})
    if count != record["total_parameters"]:
        yield f"total_parameters is {record['total_parameters']:,}, counted are {count:,}"
    for rule in [below("parameters", count, PARAMETER_LIMIT), *model_rules(network, data.get_dataset(recipe.dataset))]:
        if not rule.passed:
            yield f"{rule.name}: {rule.measured}"
    if frozen := [name for name, parameter in network.named_parameters() if not parameter.requires_grad]:
        yield f"frozen layers: {', '.join(frozen)}"
        return
    network.train()(torch.rand(2, *shape)).sum().backward()
    if unused := [name for name, parameter in network.named_parameters() if parameter.grad is None]:
        yield f"layers that are registered and never used: {', '.join(unused)}"


def evaluate_all(recipe: Recipe, weights: Weights, images: data.Images) -> list[Evaluation]:
    """What the network of each run makes of the images, side by side on all cores."""

    def evaluate_run(index: int) -> Evaluation:
        return evaluate(deployed(recipe, weights, index), images, data.get_dataset(recipe.dataset).classes)

    with ThreadPoolExecutor(devices.threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(evaluate_run, range(len(weights.facts["seeds"]))))


def evaluation_faults(record: Record, evaluations: list[Evaluation]) -> Iterator[str]:
    """Where the weights of a run read otherwise than the record says, or as those of another run."""
    named = [(f"seed {run['seed']}", run, each) for run, each in zip(record["runs"], evaluations, strict=True)]
    for name, run, evaluation in named:
        same = [each for each, said, _ in named if is_close(said["final_test_loss"], evaluation.loss, LOSS_TOLERANCE)]
        if same and name not in same:
            yield f"{name}: the weights are those of {same[0]}"
            continue
        calibrated = dataclasses.replace(evaluation, temperature=record["calibration"]["temperature"])
        image = 1.5 * 100 / len(evaluation.labels)
        for key, value, tolerance in (
            ("final_test_accuracy", evaluation.accuracy, image),
            ("final_test_loss", evaluation.loss, LOSS_TOLERANCE),
            ("calibration_error", calibrated.calibration_error, image),
            ("coverage", calibrated.coverage, image),
        ):
            if not is_close(run[key], value, tolerance):
                yield f"{name}: {key} is {reprlib.repr(run[key])}, by its weights {reprlib.repr(value)}"
    for (one, _, first), (other, _, second) in itertools.combinations(named, 2):
        if (first.logits - second.logits).norm() < ALIKE * first.logits.norm():
            yield f"{one} and {other}: the same weights, or nearly"


def faults(path: Path, record: Record, data_dir: Path) -> Iterator[str]:
    """All that is not so of the record in a file. Raises UserError where that ends the search."""
    yield from figure_faults(record)
    recipe, weights = recipes.from_stored(record["recipe"]), load_weights(path, len(record["runs"]))
    yield from weight_faults(record, weights)
    with sanity.told(f"{recipe.architecture!r} in model.py"):
        yield from network_faults(recipe, record, weights)
    images = data.load(recipe.dataset, data_dir, "test")
    evaluations = evaluate_all(recipe, weights, images)
    yield from evaluation_faults(record, evaluations)
    probabilities = (evaluations[0].logits / record["calibration"]["temperature"]).softmax(1).numpy()
    exported = Network(path.with_suffix(".onnx"))
    if not is_close(exported.read(images.pixels[:, 0].numpy()), probabilities, PROBABILITY_TOLERANCE):
        yield f"{exported.path} reads otherwise than the weights of the first seed"


def verify(path: Path, data_dir: Path) -> tuple[str, list[str]]:
    """(the record in a file in one line, all that is not so of it)."""
    line, wrong = "", []
    try:
        record = load_record(path)
        seconds = statistics.median(run["training_time"] for run in record["runs"])
        line = (
            f"{record['mean']:.3f} ± {record['deviation'] or 0:.3f} %, {len(record['runs'])} seeds, "
            f"{record['total_parameters']:,} parameters, {seconds:.1f} s of training"
        )
        for fault in faults(path, record, data_dir):
            wrong.append(fault)
    except UserError as error:
        wrong.append(str(error))
    return line, wrong


def retrain(path: Path, data_dir: Path) -> Rule:
    """Whether the first run of the record in a file, trained again where it was trained, on one device with as many
    threads, comes to an accuracy that the others let one expect."""
    record = load_record(path)
    recipe, there = recipes.from_stored(record["recipe"]), record["environment"]
    seed, weights = record["runs"][0]["seed"], load_weights(path, len(record["runs"])).tensors
    flags = ["--data", str(data_dir), "--device", "cpu" if there["device"] == "cpu" else "auto"]
    with tempfile.TemporaryDirectory() as folder:
        (run,) = records.train_all([(recipe, seed)], 1, there["threads"], flags, Path(folder))
        model, _ = checkpoint.load_model(Path(folder, results.run_name(recipe, seed)))
    is_same = all(torch.equal(tensor, weights[name][0]) for name, tensor in model[1].state_dict().items())
    other = [f"{key} {run['environment'][key]}" for key in records.MACHINE if run["environment"][key] != there.get(key)]
    how = "the same weights, bit for bit" if is_same else f"other weights ({', '.join(other) or 'on such a machine'})"
    low, high = intervals.prediction_interval([each["final_test_accuracy"] for each in record["runs"]])
    accuracy = run["final_test_accuracy"]
    said = f"{accuracy:.2f} %, expected {low:.2f} to {high:.2f}; {how}; {run['training_time']:.1f} s"
    return Rule(f"seed {seed} trained again", said, low <= accuracy <= high)


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("recipe", nargs="?", help="of one record alone")
    parser.add_argument("--train", action="store_true", help="train the first seed of each again")
    parser.add_data()
    arguments = parser.parse_args(argv)
    devices.prepare()
    paths = [path for path in sorted(results.RECORDS.glob("*.json")) if "runs" in files.read_json(path, REMEDY)]
    names = [path.stem for path in paths]
    if arguments.recipe and arguments.recipe not in names:
        raise UserError(f"there is no record {arguments.recipe!r} in {results.RECORDS}: there are {', '.join(names)}")
    paths = [path for path in paths if arguments.recipe in (None, path.stem)]
    passed = True
    for path in paths:
        line, wrong = verify(path, arguments.data)
        print(f"{mark(not wrong)} {path.stem:10} {line}", *(f"  {path.stem}: {fault}" for fault in wrong), sep="\n")
        passed &= not wrong
        if arguments.train and not wrong:
            rule = retrain(path, arguments.data)
            print(f"{mark(rule.passed)} {path.stem:10} {rule.name}: {rule.measured}")
            passed &= rule.passed
    return 0 if passed else 1


if __name__ == "__main__":
    cli.run(main)
