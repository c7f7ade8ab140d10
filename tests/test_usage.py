"""Bad input, to every script and through make: one clear line, the right exit status, no traceback, nothing damaged."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from support import cli, devices, launch

import hypothesis
import pytest
from hypothesis import strategies
from made_up import put, run

import checkpoint
import data
import environment
import evaluate
import recipes
import results
import train
import verdict
from experiments import benchmark, records, sweep, tables
from reporting import find_lr, plots, report, rules, samples

SCRIPTS = (
    *(benchmark, data, environment, evaluate, find_lr, launch, plots),
    *(records, report, results, rules, samples, sweep, tables, train),
)


def script_name(script):
    return f"{script.__name__.split('.')[-1]}.py"


@pytest.fixture
def start(monkeypatch, capsys):
    """Runs a script as the command line would; returns (exit status, errors)."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script_name(script)])
        try:
            status = cli.run(lambda: script.main([str(argument) for argument in arguments]))
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().err

    return run


USAGE = [
    *(
        (script, ["--no-such-flag"], "--no-such-flag")
        for script in (benchmark, data, environment, results, rules, tables, train)
    ),
    (evaluate, ["run", "--no-such-flag"], "--no-such-flag"),
    (records, ["fast", "--no-such-flag"], "--no-such-flag"),
    (train, ["--recipe", "quick"], "'quick'"),
    (train, ["--epochs", "0"], "epochs must be between 0.001 and 100,000, got 0"),
    (train, ["--epochs", "-1"], "epochs"),
    (train, ["--epochs", "1e9"], "epochs"),
    (train, ["--epochs", "9" * 500], "epochs"),
    (train, ["--batch-size", "0"], "batch_size"),
    (train, ["--learning-rate", "nan"], "learning_rate"),
    (train, ["--learning-rate", "inf"], "learning_rate"),
    (train, ["--learning-rate", "-1"], "learning_rate"),
    (train, ["--momentum", "1.5"], "momentum"),
    (train, ["--schedule", "cosine"], "schedule must be one of constant, one_cycle, step"),
    (train, ["--nesterov", "maybe"], "nesterov"),
    (train, ["--architecture", "resnet"], "'resnet'"),
    (train, ["--device", "tpu"], "'tpu'"),
    (train, ["--dataset", "cifar10"], "unknown dataset 'cifar10'; there are: mnist, fashion-mnist"),
    (train, ["--validation-images", "0"], "validation_images"),
    (data, ["--dataset", "cifar10"], "cifar10"),
    (train, ["--seed", "-1"], "seed"),
    (train, ["--seed", str(2**63)], "seed"),
    (train, ["--seed", "one"], "seed"),
    (train, ["extra"], "extra"),
    (train, ["--out", "zero\0byte"], "is no path"),
    (train, ["--data", "~nobody-here/data"], "is no path"),
    (train, ["--config", "none.toml"], "none.toml"),
    (train, ["--config", "none.yaml"], "must end in .json or .toml"),
    (find_lr, ["--finder-num-iter", "1"], "finder_num_iter must be between 10"),
    (find_lr, ["--finder-start-lr", "20"], "finder_end_lr must be above finder_start_lr"),
    (samples, ["--degrees", "999"], "degrees must be between 0 and 180"),
    (report, [], "run"),
    (evaluate, [], "run"),
    (rules, ["resnet"], "'resnet'"),
    (rules, ["default", "--check", "speed"], "speed"),
    (records, ["quick"], "'quick'"),
    (records, ["fast", "--seeds", "0"], "--seeds"),
    (records, ["fast", "--jobs", "-1"], "--jobs"),
    (records, ["fast", "--seeds", "many"], "many"),
    (sweep, [], "file"),
    (sweep, ["none.toml"], "none.toml"),
    (sweep, ["none.yaml"], "must end in .json or .toml"),
    (sweep, ["none.toml", "--recipe", "quick"], "'quick'"),
    (sweep, ["none.toml", "--jobs", "0"], "--jobs"),
    (launch, ["0", "train.py"], "got 0"),
    (launch, ["1000", "train.py"], "got 1000"),
    (launch, ["two", "train.py"], "two"),
    (results, ["compare"], "compare"),
    (verdict, ["run", "--minimum", "all"], "all"),
]


@pytest.mark.parametrize(("script", "arguments", "named"), USAGE)
def test_wrong_usage_is_one_line_and_status_2(start, tmp_path, monkeypatch, inject, script, arguments, named):
    monkeypatch.chdir(tmp_path)
    inject("wrong usage")
    status, errors = start(script, *arguments)
    assert status == 2
    assert errors.count("\n") == 1
    assert errors.startswith(script_name(script))
    assert named in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_what_a_script_does(script, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    assert "show this help" in capsys.readouterr().out


@pytest.mark.parametrize("script", [train, evaluate])
def test_a_device_that_is_not_there_is_refused(start, tmp_path, monkeypatch, inject, script):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    inject("absent device")
    status, errors = start(script, *(["run"] if script is evaluate else []), "--device", "cuda")
    assert status in (1, 2)
    assert "device 'cuda' is not available on this machine; use --device auto" in errors
    assert errors.count("\n") == 1


def test_files_and_folders_of_the_wrong_kind_are_one_line(start, small_mnist, tmp_path, inject):
    wrong = tmp_path / "file"
    wrong.write_text("")
    small = ("--epochs", 1, "--batch-size", 100, "--device", "cpu", "--out")
    for script, arguments in (
        (train, [*small, wrong]),
        (train, [*small, wrong / "below"]),
        (train, [*small, tmp_path / ("long" * 100)]),
        (evaluate, [wrong, "--device", "cpu"]),
        (evaluate, [tmp_path / "nowhere", "--device", "cpu"]),
        (verdict, [wrong]),
        (verdict, [tmp_path / "nowhere"]),
        (data, ["--data", wrong]),
        (environment, ["--data", wrong]),
    ):
        inject("wrong file or folder")
        status, errors = start(script, *arguments)
        assert status == 1, (script, arguments)
        assert errors.count("\n") <= 1


def test_a_damaged_run_does_not_hide_the_others(tmp_path, monkeypatch, start, capsys, inject):
    put(tmp_path / "results", {"default-seed0": run(99.5), "default-seed1": run(99.4, 1)})
    (tmp_path / "results" / "default-seed0" / "results.json").write_text('{"schema": 1')
    monkeypatch.chdir(tmp_path)
    inject("damaged results.json")
    assert verdict.main([]) == 0
    output, errors = capsys.readouterr()
    assert "default-seed1" in output
    assert errors.count("\n") == 1
    assert "default-seed0/results.json is not valid JSON" in errors


def fitting(field):
    """Values that a field of Recipe may have."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    if field.name == "dataset":
        return strategies.sampled_from(list(data.DATASETS))
    if field.name == "architecture":
        return strategies.sampled_from(["default", "fast", "mnist-7824", "erav3"])
    if field.type is bool:
        return strategies.booleans().map(str)
    if field.name == "finder_num_iter":  # all of them are run
        return strategies.integers(low, 30).map(str)
    if field.type is int:
        return strategies.integers(low, int(min(high, 10**30))).map(str) | strategies.integers(low, 60).map(str)
    return (
        strategies.sampled_from(choices)
        if choices
        else strategies.floats(low, high, allow_subnormal=False, allow_infinity=False).map(str)
    )


def flag(field, values):
    """Strategy of "--flag=value" for a field."""
    return values.map(lambda value: f"--{field.name.replace('_', '-')}={value}")


NUMBERS = (strategies.integers() | strategies.floats(allow_subnormal=False)).map(str)
WORDS = strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
FIELDS = [field for field in dataclasses.fields(recipes.Recipe) if field.name != "name"]
FITTING = [flag(field, fitting(field)) for field in FIELDS]
WILD = [flag(field, NUMBERS | WORDS) for field in FIELDS]
FLAGS = strategies.tuples(
    strategies.sampled_from(["default", "fast", "mnist-7824", "mnist-ops"]).map("--recipe={}".format),
    strategies.lists(strategies.one_of(FITTING), max_size=5)
    | strategies.lists(strategies.one_of(FITTING + WILD), max_size=3),
)
IMAGES = 150


@pytest.mark.parametrize("examples", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_flags_never_end_in_a_traceback_or_a_damaged_file(mnist, tmp_path, monkeypatch, inject, examples):
    few = dict(zip(("train", "test"), (images[:IMAGES] for images in mnist), strict=True))
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
        arguments = [
            recipe,
            "--batch-size=50",
            "--finder-num-iter=10",
            f"--out={tmp_path / 'run'}",
            "--device=cpu",
            *changes,
        ]
        arguments += ["--overwrite"] * overwrite
        try:
            status = cli.run(lambda: train.main(arguments))
        except SystemExit as stop:
            status = stop.code
        assert status in (0, 1, 2, 130)
        assert_whole(tmp_path / "run")

    drive()


def assert_whole(folder):
    """No file of a run's folder is damaged or half written."""
    found = checkpoint.checkpoint_dir(folder)
    assert all(checkpoint.is_whole(path) for path in found.glob("*.pt"))
    assert not list(folder.rglob(".*.partial"))
    if (folder / "results.json").exists():
        text = (folder / "results.json").read_text()
        json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not strict JSON"))


MAKE = [
    (["train", "EPOCHS=0"], "epochs must be between"),
    (["train", "EPOCHS=abc"], "abc"),
    (["train", "RECIPE=quick"], "quick"),
    (["train", "SEED=-1"], "seed"),
    (["train", "DEVICE=tpu"], "tpu"),
    (["train", "NPROC=0"], "got 0"),
    (["evaluate", "RUN=results/nowhere"], "no checkpoint in results/nowhere"),
    (["check-results", "RUN=results/nowhere"], "results/nowhere holds no run: make train"),
    (["evaluate", "CONFIG=mine.toml"], "mine.toml"),
    (["check-params", "RECIPE=quick"], "quick"),
    (["check-params", "CONFIG=mine.toml"], "takes RECIPE, not CONFIG"),
    (["records", "LR=auto"], "takes RECIPE, not LR"),
    (["records", "DATASET=fashion-mnist"], "takes RECIPE, not DATASET"),
    (["records", "NPROC=2"], "takes RECIPE, not NPROC"),
    (["sweep", "EPOCHS=2"], "takes RECIPE, not EPOCHS: put it into FILE"),
    (["records", "SEEDS=0"], "--seeds"),
    (["records", "JOBS=x"], "x"),
]


@pytest.mark.slow
@pytest.mark.skipif(not (Path(sys.prefix) / ".installed").exists(), reason="needs an environment that make has made")
@pytest.mark.parametrize(("words", "named"), MAKE)
def test_a_bad_variable_of_make_is_one_line_and_fails(mnist_folder, inject, words, named):
    inject("bad variable of make")
    command = ["make", *words, f"VENV={sys.prefix}", f"DATA={mnist_folder}"]
    done = subprocess.run(command, cwd=environment.ROOT, capture_output=True, text=True)
    assert done.returncode == 2  # whatever the script's own was
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("make", "verified"))]
    assert len(said) == 1
    assert named in said[0]


@pytest.mark.parametrize(
    ("words", "passed_on"),
    [
        (["train"], "train.py --recipe default --seed 0"),
        (["train", "RECIPE=fast", "SEED=3", "EPOCHS=2", "OUT=here"], "--recipe fast --seed 3 --epochs 2 --out here"),
        (["train", "LR=auto"], "--find-lr true"),
        (["train", "LR=0.1"], "--learning-rate 0.1"),
        (["train", "CONFIG=mine.toml"], "train.py --config mine.toml --data"),
        (["train", "CONFIG=mine.toml", "SEED=3", "LR=auto"], "mine.toml --seed 3 --data data --find-lr true"),
        (["train", "NPROC=2"], "-m support.launch 2 train.py"),
        (["train", "HOLDOUT=10000"], "--holdout true --validation-images 10000 --data"),
        (["train", "DATASET=fashion-mnist"], "--seed 0 --dataset fashion-mnist --data"),
        (["report", "DATASET=fashion-mnist"], "results.py --recipe default --seed 0 --dataset fashion-mnist --data"),
        (["data", "DATASET=fashion-mnist"], "data.py --dataset fashion-mnist"),
        (["find-lr", "CONFIG=mine.toml"], "-m reporting.find_lr --config mine.toml"),
        (["show-augmentation", "RECIPE=erav3"], "-m reporting.samples --recipe erav3 --seed 0"),
        (["show-model", "RECIPE=erav3"], "model.py erav3"),
        (["evaluate"], "run=$(.venv/bin/python results.py --recipe default --seed 0 --data data )"),
        (
            ["evaluate", "SEED=3"],
            "results.py --recipe default --seed 3 --data data ) && .venv/bin/python evaluate.py $run",
        ),
        (["report", "OUT=here"], "--out here --data data ) && .venv/bin/python -m reporting.report $run"),
        (["report", "LR=0.1", "EPOCHS=2"], "--epochs 2 --data data --learning-rate 0.1"),
        (["report", "CONFIG=mine.toml"], "results.py --config mine.toml --data"),
        (["check-results", "RUN=there"], "run=there && .venv/bin/python verdict.py $run --data data"),
        (
            ["check-results", "RUN=there", "MINIMUM=99", "MINIMUM_CLASS=98", "MAXIMUM_LOSS=0.1"],
            "--minimum 99 --minimum-class 98 --maximum-loss 0.1",
        ),
        (["compare", "RUNS=a b"], "-m reporting.compare a b --data data"),
        (["predict", "IMAGE=my.png"], "requirements.txt requirements-predict.txt"),
        (["predict", "IMAGE=my.png"], "run= && .venv/bin/python -m deployment.predict my.png ${run:+--run $run}"),
        (
            ["predict", "IMAGE=a b", "RUN=there", "SHOW=1", "JSON=1"],
            "run=there && .venv/bin/python -m deployment.predict a b",
        ),
        (["predict", "IMAGE=-", "SEED=3"], "run=$(.venv/bin/python results.py --recipe default --seed 3 --data data )"),
        (["export"], "run= && .venv/bin/python -m deployment.export ${run:+$run} --data data"),
        (["export", "RECIPE=fast"], "run=$(.venv/bin/python results.py --recipe fast --seed 0 --data data )"),
        (["demo", "RUNS=a b", "PORT=8080"], "-m deployment.demo a b --data data --device auto --port 8080"),
        (["demo"], "requirements.txt requirements-demo.txt"),
        (["bench", "QUICK=1"], "requirements.txt requirements-bench.txt"),
        (["bench", "QUICK=1"], "-m experiments.benchmark --data data --quick"),
        (["site", "OUT=site", "RUN=a"], "-m deployment.demo a --data data --device auto --out site --build-only"),
        (["new-model", "NAME=mine"], "-m support.new_model mine"),
        (["train", "LOG=tensorboard"], "requirements.txt requirements-tensorboard.txt"),
        (["train", "LOG=tensorboard"], "--log tensorboard"),
        (["train", "VENV=my env"], "support/install.py my env requirements.txt"),
        (["records", "RECIPE=published", "SEEDS=1"], "-m experiments.records published --seeds 1"),
        (["sweep", "FILE=a.toml"], "requirements.txt requirements-sweep.txt"),
        (["sweep", "FILE=a.toml"], "-m experiments.sweep a.toml --device auto"),
        (
            ["sweep", "FILE=a.toml", "RECIPE=mine", "STORAGE=postgresql://host/x", "JOBS=2", "SHOW=1"],
            "-m experiments.sweep a.toml --recipe mine --storage postgresql://host/x --jobs 2 --show",
        ),
    ],
)
def test_make_passes_on_what_it_is_given(words, passed_on):
    alone = {"PATH": os.environ["PATH"]}
    done = subprocess.run(["make", "-n", *words], cwd=environment.ROOT, capture_output=True, text=True, env=alone)
    assert done.returncode == 0
    assert passed_on in " ".join(done.stdout.replace('"', "").replace("\\", "").split())


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ([], "results/default-seed0"),
        (["--seed", "3"], "results/default-seed3"),
        (["--out", "here"], "here"),
        (
            ["--dataset", "fashion-mnist", "--holdout", "true", "--validation-images", "50"],
            "results/default-fashion-mnist-holdout50-seed0",
        ),
    ],
)
def test_a_runs_folder_is_told_from_its_flags(capsys, flags, folder):
    assert results.main(flags) == 0
    assert capsys.readouterr().out == f"{folder}\n"
