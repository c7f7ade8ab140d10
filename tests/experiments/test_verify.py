"""Records that are forged, one thing at a time; and one that is not. Its networks are not trained."""

import json
import shutil

from support import files, identity
from support.rule import Rule

import pytest
import safetensors.torch
import torch
from made_up import run
from torch import nn

import checkpoint
import data
import environment
import model
import recipes
import results
from deployment import onnx_format
from evaluate import evaluate
from experiments import records, verify, weights
from model import Normalize, build
from reporting import rules

IMAGES = 200
SHAPE, CLASSES = (1, 28, 28), tuple("0123456789")
NORMALIZE = {"mean": 0.13, "std": 0.31}
PLACE = run(0)["environment"] | {"capability": "AVX2", "commit": "c0ffee"}


def write(folder, images, count=10, architecture="default", **changes):
    """Write the record of some networks that were never trained, and return what it says."""
    torch.manual_seed(0)
    deployed = [nn.Sequential(Normalize(**NORMALIZE), build(architecture, 10)).eval() for _ in range(count)]
    evaluations = [evaluate(each, images, CLASSES) for each in deployed]
    runs = [
        {
            "seed": seed,
            "final_test_accuracy": each.accuracy,
            "final_test_loss": each.loss,
            "training_time": 5.0,
            "calibration_error": each.calibration_error,
            "answered": 98.0,
            "answered_accuracy": 99.0,
            "coverage": each.coverage,
        }
        for seed, each in enumerate(evaluations)
    ]
    recipe = recipes.get_recipe("default", architecture=architecture, epochs=1)
    record = {
        "recipe": vars(recipe),
        "total_parameters": model.count_parameters(deployed[0]),
        "total_epochs": 1,
        "runs": runs,
        **records.mean_figures([each.accuracy for each in evaluations]),
        "environment": PLACE,
        "calibration": {"temperature": 1.0, "threshold": 0.0},
        **changes,
    }
    files.write_json(folder / "default.json", record)
    identified = identity.identify(lambda: build(architecture, 10), SHAPE)
    states = [{"identity": identified, "normalize": NORMALIZE}] * count
    weights.write_weights(folder / "default.safetensors", record, list(zip(deployed, states, strict=True)))
    return record, deployed[0]


@pytest.fixture(scope="module")
def made(mnist, tmp_path_factory):
    """A folder with a record that holds."""
    folder = tmp_path_factory.mktemp("records")
    _, first = write(folder, mnist[1][:IMAGES])
    facts = {"recipe": "default", "dataset": "mnist", "commit": "c0ffee", "classes": CLASSES, "seed": 0}
    onnx_format.write(folder / "default.onnx", first, SHAPE, facts)
    return folder


@pytest.fixture
def folder(made, mnist, tmp_path, monkeypatch):
    """A copy of it among the records, to be forged, where networks are not trained to see whether they can be."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(results, "RECORDS", tmp_path)
    monkeypatch.setattr(data, "load", lambda *_: mnist[1][:IMAGES])
    monkeypatch.setattr(rules, "training_rule", lambda recipe: Rule("training", "", True))
    monkeypatch.setattr(environment, "is_foreign", lambda commit: commit == "f0f0")
    return tmp_path


def judged(capsys, *arguments):
    """(exit status, lines) of what verify says."""
    status = verify.main(list(arguments))
    return status, capsys.readouterr().out.splitlines()


def changed(folder, change):
    """Forge the JSON of a record."""
    record = json.loads((folder / "default.json").read_bytes())
    change(record)
    files.write_json(folder / "default.json", record)


def changed_weights(folder, change, facts):
    """Forge the weights of a record, and their sums with them."""
    path = folder / "default.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["record"])
    tensors = safetensors.torch.load_file(path)
    for name in tensors:
        tensors[name] = change(tensors[name]).contiguous()
    said["sums"] = weights.sums(tensors)
    facts(said)
    path.write_bytes(safetensors.torch.save(tensors, {"record": json.dumps(said)}))


def test_a_record_that_holds_takes_a_line(folder, capsys):
    (folder / "bench.json").write_text("{}")
    status, lines = judged(capsys)
    assert (status, len(lines)) == (0, 1)
    assert lines[0].startswith("✓ default ")
    assert lines[0].endswith("%, 10 seeds, 19,066 parameters, 5.0 s of training")


def set_run(key, value):
    return lambda record: record["runs"][3].update({key: value})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (set_run("final_test_accuracy", 99.5), "seed 3: final_test_accuracy is 99.5, by its weights"),
        (set_run("final_test_loss", 0.02), "seed 3: final_test_loss is 0.02, by its weights"),
        (set_run("calibration_error", 0.1), "seed 3: calibration_error is 0.1, by its weights"),
        (set_run("coverage", [100.0] * 21), "seed 3: coverage is [100.0, "),
        (set_run("seed", 2), "the seeds are 0, 1, 2, 2, 4"),
        (lambda record: record["runs"][9].update(seed=10), "the seeds are 0, 1, 2, 3, 4, 5, 6, 7, 8, 10: a record"),
        (lambda record: record.update(mean=99.5), "mean is 99.5, by the runs"),
        (lambda record: record.update(deviation=0.01), "deviation is 0.01, by the runs"),
        (lambda record: record.update(mean_ci95=[99.4, 99.6]), "mean_ci95 is [99.4, 99.6], by the runs"),
        (lambda record: record.update(total_parameters=18_000), "total_parameters is 18,000, counted are 19,066"),
        (lambda record: record.update(total_parameters=20_000), "Below 20,000 parameters: 20,000 ≥ 20,000"),
        (lambda record: record.update(total_epochs=2), "total_epochs is 2.0, by the runs 1.0"),
        (lambda record: record["recipe"].update(epochs=0.5, learning_rate=9), "recipe of the weights: not as in"),
        (lambda record: record["environment"].update(cpu="another"), "environment of the weights: not as in"),
        (lambda record: record["environment"].update(commit="c0ffee-dirty"), "the commit is c0ffee-dirty: a record"),
        (lambda record: record["environment"].update(commit="f0f0"), "the commit f0f0 is not in this repository"),
        (lambda record: record["environment"].pop("capability"), "no capability in the environment"),
        (lambda record: record["calibration"].update(temperature=2.0), "default.onnx reads otherwise than the weights"),
        (lambda record: record["runs"].pop(), "holds weights of other runs than the 9 of the record"),
        (lambda record: record.pop("mean"), "default.json: its content: object missing required field `mean`"),
        (lambda record: record["recipe"].update(name="fast"), "is of the recipe 'fast'"),
    ],
)
def test_a_number_that_was_changed_is_named(folder, capsys, inject, change, named):
    inject("forged record")
    changed(folder, change)
    status, lines = judged(capsys, "default")
    assert status == 1
    assert lines[0].startswith("✗ default ")
    assert [line for line in lines[1:] if named in line and line.startswith("  default: ")]


def swapped(tensor):
    return torch.cat([tensor[1:2], tensor[:1], tensor[2:]])


def mixed(tensor):
    return torch.cat([tensor[:1], tensor[1:2] if tensor.dim() > 2 else tensor[2:3], tensor[2:]])


def doubled(tensor):
    return torch.cat([tensor[:9], tensor[4:5] * (1.0001 if tensor.is_floating_point() else 1)])


def narrowed(tensor):
    return tensor[:, :1] if tensor.dim() > 1 else tensor


def untouched(tensor):
    return tensor


def left(facts):
    """Leave as they are what the weights say of themselves."""


@pytest.mark.parametrize(
    ("change", "facts", "named"),
    [
        (swapped, left, "seed 1: the weights are those of seed 0"),
        (mixed, left, "seed 1: final_test_loss is"),
        (swapped, lambda facts: facts["sums"].sort(), "the weights do not have their sum"),
        (doubled, left, "seed 4 and seed 9: the same weights, or nearly"),
        (lambda tensor: tensor[:9], left, "holds weights of other runs than the 10 of the record"),
        (lambda tensor: torch.cat([tensor, tensor[:1]]), left, "holds weights of other runs than the 10 of the record"),
        (narrowed, left, "the weights are not of 'default' in model.py"),
        (untouched, lambda facts: facts.pop("identity"), "holds no weights of a record ('identity')"),
        (untouched, lambda facts: facts["identity"].update(calls=""), "computes something else than when it was"),
        (untouched, lambda facts: facts["environment"].update(commit="1"), "environment of the weights: not as in"),
    ],
)
def test_weights_that_were_changed_are_named(folder, capsys, inject, change, facts, named):
    inject("forged weights")
    changed_weights(folder, change, facts)
    status, lines = judged(capsys)
    assert status == 1
    assert [line for line in lines[1:] if named in line]


@pytest.mark.parametrize("name", ["default.safetensors", "default.onnx"])
def test_a_file_that_is_missing_or_of_another_network_is_named(folder, capsys, inject, name):
    inject("forged weights", 2)
    (folder / name).write_bytes(b"damage")
    status, lines = judged(capsys)
    assert (status, name in lines[1]) == (1, True)
    (folder / name).unlink()
    status, lines = judged(capsys)
    assert (status, name in lines[1]) == (1, True)


class Idle(nn.Module):
    """A network with a BatchNorm that is only registered."""

    def __init__(self, num_classes):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1)),
            nn.Linear(4, num_classes),
        )

    def forward(self, images):
        return self.layers(images)


class Kept(nn.Module):
    """A network that keeps weights in a buffer, which its training sets."""

    def __init__(self, num_classes):
        super().__init__()
        self.layers = model.default(num_classes)
        self.register_buffer("table", torch.zeros(10))
        self.table.copy_(torch.rand(10) * (torch.rand(1) > 2))

    def forward(self, images):
        return self.layers(images) + self.table


def frozen(num_classes):
    network = model.early_pools([16, 16, 16, 24, 24, 32], num_classes)
    network[5].requires_grad_(False)
    return network


NETWORKS = {
    "large": (lambda count: model.early_pools([16, 16, 16, 24, 24, 32], count), ["parameters: 20,890 ≥ 20,000"]),
    "frozen": (frozen, ["frozen layers: 5.weight, 5.bias", "counted are 20,890", "parameters: 20,890 ≥ 20,000"]),
    "idle": (Idle, ["layers that are registered and never used: norm.weight, norm.bias", "BatchNorm: never runs"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_breaks_a_rule_is_named(folder, mnist, capsys, inject, monkeypatch, name):
    inject("network against the rules")
    network, named = NETWORKS[name]
    monkeypatch.setitem(model.ARCHITECTURES, name, network)
    write(folder, mnist[1][:IMAGES], architecture=name)
    status, lines = judged(capsys)
    assert status == 1
    for words in named:
        assert [line for line in lines if words in line], lines


def test_values_in_a_buffer_count(monkeypatch):
    network = Kept(10)
    state = network.state_dict()
    assert verify.count_fitted(network, state) == 19_066
    assert verify.count_fitted(network, state | {"table": torch.ones(10)}) == 19_076


def test_few_seeds_are_said(folder, mnist, capsys, inject):
    inject("forged record")
    write(folder, mnist[1][:IMAGES], count=3)
    assert judged(capsys)[1][1] == "  default: seeds: 3, of which a record has 10 at least"


@pytest.mark.parametrize(("apart", "passed"), [(2, True), (-2, True), (3, False), (-3, False)])
@pytest.mark.parametrize("is_same", [True, False])
def test_the_first_seed_is_trained_again(folder, two_epochs, monkeypatch, apart, passed, is_same):
    """two_epochs stands for that training; 2.37 deviations are expected of an eleventh seed."""
    path, (network, state) = folder / "default.json", checkpoint.load_model(two_epochs)
    record = json.loads(path.read_bytes())
    if is_same:
        weights.write_weights(path.with_suffix(".safetensors"), record, [(network, state)] * 10)

    def train_all(trainings, jobs, threads, flags, out):
        assert (jobs, threads, flags[-2:]) == (1, PLACE["threads"], ["--device", "cpu"])
        shutil.copytree(two_epochs, out / results.run_name(*trainings[0]))
        yield results.load(two_epochs) | {"final_test_accuracy": record["mean"] + apart * record["deviation"]}

    monkeypatch.setattr(records, "train_all", train_all)
    rule = verify.retrain(path, "data")
    assert (rule.name, rule.passed) == ("seed 0 trained again", passed)
    assert ("the same weights, bit for bit" in rule.measured) == is_same
    assert ("other weights (cpu " in rule.measured) != is_same
