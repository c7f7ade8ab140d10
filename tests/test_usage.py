"""Bad input, to every script and through make: one clear line, the right exit status, no traceback, nothing damaged."""

import json
import sys
from pathlib import Path

from support import cli, launch, new_model

import hypothesis
import pytest
import torch
from hypothesis import strategies

import checkpoint
import data
import environment
import evaluate
import recipes
import results
import train
import verdict
from experiments import benchmark, records, sweep, tables, verify
from reporting import evaluation, find_lr, report, rules, samples

SCRIPTS = (
    *(benchmark, data, environment, evaluate, evaluation, find_lr, launch, new_model),
    *(records, report, results, rules, samples, sweep, tables, train, verdict, verify),
)
ABSENT = "cuda" if torch.backends.mps.is_available() else "mps"


@pytest.fixture
def start(monkeypatch, capsys):
    """Runs a script as the command line would; returns (exit status, errors)."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script.__file__])
        with pytest.raises(SystemExit) as stop:
            cli.run(lambda: script.main([str(argument) for argument in arguments]))
        return stop.value.code, capsys.readouterr().err

    return run


USAGE = [
    *((script, ["default", "--no-such-flag"], "--no-such-flag") for script in SCRIPTS if script != launch),
    (train, ["--recipe", "not there"], "'not there'"),
    (train, ["--epochs", "0"], "epochs must be between 0.001 and 100,000, got 0"),
    (train, ["--epochs", "9" * 500], "epochs"),
    (train, ["--batch-size", "0"], "batch_size"),
    (train, ["--learning-rate", "nan"], "learning_rate"),
    (train, ["--schedule", "cosine"], "schedule must be one of constant, one_cycle, step"),
    (train, ["--nesterov", "maybe"], "nesterov"),
    (train, ["--architecture", "resnet"], "'resnet'"),
    (train, ["--device", "tpu"], "'tpu'"),
    (train, ["--device", ABSENT], f"device '{ABSENT}' is not available on this machine; use --device auto"),
    (train, ["--dataset", "cifar10"], "unknown dataset 'cifar10'; there are: mnist, fashion-mnist"),
    (train, ["--seed", "-1"], "seed"),
    (train, ["--seed", str(2**63)], "seed"),
    (train, ["extra"], "extra"),
    (train, ["--out", "zero\0byte"], "is no path"),
    (train, ["--data", "~nobody-here/data"], "is no path"),
    (train, ["--config", "none.toml"], "none.toml"),
    (train, ["--config", "none.yaml"], "must end in .json or .toml"),
    (find_lr, ["--finder-num-iter", "1"], "finder_num_iter must be between 10"),
    (samples, ["--degrees", "999"], "degrees must be between 0 and 180"),
    (evaluate, [], "run"),
    (rules, ["resnet"], "'resnet'"),
    (rules, ["default", "--check", "speed"], "speed"),
    (records, ["not there"], "'not there'"),
    (records, ["default", "--seeds", "0"], "--seeds"),
    (sweep, ["none.toml"], "none.toml"),
    (sweep, ["none.toml", "--jobs", "0"], "--jobs"),
    (launch, ["0", "train.py"], "got 0"),
    (launch, ["1000", "train.py"], "got 1000"),
    (verdict, ["run", "--minimum", "all"], "all"),
    *((new_model, [name], f"{name!r} must be lower-case letters, digits") for name in ("Mine", "../mine", "1st", "m-")),
    *(
        (new_model, [name], f"{name!r} must be lower-case letters")
        for name in ("class", "none", "exception", "", "über", "my_net")
    ),
]


@pytest.mark.parametrize(("script", "arguments", "named"), USAGE)
def test_wrong_usage_is_one_line_and_status_2(start, tmp_path, monkeypatch, inject, script, arguments, named):
    monkeypatch.chdir(tmp_path)
    inject("wrong usage")
    status, errors = start(script, *arguments)
    assert status == 2
    assert errors.count("\n") == 1
    assert errors.startswith(f"{Path(script.__file__).name}: ")
    assert named in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_what_a_script_does(script, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    assert "show this help" in capsys.readouterr().out


def test_files_and_folders_of_the_wrong_kind_are_one_line(start, small_mnist, tmp_path, inject):
    wrong, nowhere = tmp_path / "file", tmp_path / "nowhere"
    wrong.write_text("")
    small = ("--epochs", 1, "--batch-size", 100, "--device", "cpu", "--out")
    for script, arguments in (
        *((train, [*small, place]) for place in (wrong, wrong / "below", tmp_path / ("long" * 100))),
        *((evaluate, [place, "--device", "cpu"]) for place in (wrong, nowhere, nowhere / "best_model.pt")),
        *((verdict, [place]) for place in (wrong, nowhere)),
        *((script, ["--data", wrong]) for script in (data, environment)),
    ):
        inject("wrong file or folder")
        status, errors = start(script, *arguments)
        assert status == 1, (script, arguments)
        assert errors.count("\n") <= 1


def test_a_notebook_that_comes_alone_asks_for_the_fork(tmp_path, monkeypatch):
    first = json.loads((cli.ROOT / "train.ipynb").read_bytes())["cells"][1]["source"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="REPOSITORY must be the name of your fork on GitHub"):
        exec("".join(first), {})


SYSTEMS = ["default", "mnist-7824", "mnist-ops"]  # and of the published ones two that are trained fast
NAMES = {"dataset": list(data.DATASETS), "architecture": [recipes.RECIPES[name].architecture for name in SYSTEMS]}


def fitting(field):
    """Values that a field of Recipe may have."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    choices = NAMES.get(field.name, choices)
    if choices or field.type is bool:
        return strategies.sampled_from(choices or ("true", "false"))
    if field.type is int:
        most = 30 if field.name == "finder_num_iter" else int(min(high, 10**30))  # all of those steps are run
        return strategies.integers(low, most).map(str) | strategies.integers(low, min(60, most)).map(str)
    return strategies.floats(low, high, allow_subnormal=False, allow_infinity=False).map(str)


def flag(field, values):
    """Strategy of "--flag=value" for a field."""
    return values.map(lambda value: f"--{field.name.replace('_', '-')}={value}")


NUMBERS = (strategies.integers() | strategies.floats(allow_subnormal=False)).map(str)
WORDS = strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
FITTING = [flag(field, fitting(field)) for field in recipes.FIELDS]
WILD = [flag(field, NUMBERS | WORDS) for field in recipes.FIELDS]
FLAGS = strategies.tuples(
    strategies.sampled_from(SYSTEMS).map("--recipe={}".format),
    strategies.lists(strategies.one_of(FITTING), max_size=5)
    | strategies.lists(strategies.one_of(FITTING + WILD), max_size=3),
)


@pytest.mark.parametrize("examples", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_flags_never_end_in_a_traceback_or_a_damaged_file(mnist, tmp_path, monkeypatch, inject, examples):
    few = dict(zip(("train", "test"), (images[:150] for images in mnist), strict=True))
    monkeypatch.setattr(data, "load", lambda name, data_dir, part, device: few[part])
    monkeypatch.setattr(sys, "argv", ["train.py"])
    save = checkpoint.save

    def stop_after_two(folder, state, best):
        save(folder, state, best)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop_after_two)

    @hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @hypothesis.given(FLAGS, strategies.sampled_from([True, True, False]))
    def drive(flags, overwrite):
        inject("random command line")
        recipe, changes = flags
        arguments = [recipe, "--batch-size=50", "--finder-num-iter=10", f"--out={tmp_path / 'run'}", "--device=cpu"]
        arguments += [*changes, *["--overwrite"] * overwrite]
        with pytest.raises(SystemExit) as stop:
            cli.run(lambda: train.main(arguments))
        assert stop.value.code in (None, 1, 2, 130)
        folder = tmp_path / "run"
        assert all(map(checkpoint.is_whole, checkpoint.checkpoint_dir(folder).glob("*.pt")))
        assert not list(folder.rglob(".*.partial"))
        for path in folder.glob("results.json"):
            json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not strict JSON"))

    drive()


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ("", "results/default-seed0"),
        ("--seed 3", "results/default-seed3"),
        ("--out here", "here"),
        (
            "--dataset fashion-mnist --holdout true --validation-images 50",
            "results/default-fashion-mnist-holdout50-seed0",
        ),
    ],
)
def test_a_runs_folder_is_told_from_its_flags(capsys, flags, folder):
    results.main(flags.split())
    assert capsys.readouterr().out == f"{folder}\n"
