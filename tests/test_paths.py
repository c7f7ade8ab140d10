"""Paths as people have them: with ~, from another folder, of a file in a run, of a run by its name."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support import UserError, cli

import pytest

import checkpoint
import environment
import evaluate
import results
import verdict


@pytest.fixture
def trained(train_small, tmp_path):
    train_small("--epochs", 2)
    return tmp_path / "run"


PLACES = {
    "the folder": lambda run: run,
    "best_model.pt": lambda run: run / "checkpoints" / "best_model.pt",
    "a checkpoint": lambda run: run / "checkpoints" / "epoch_001.pt",
    "the checkpoints": lambda run: run / "checkpoints",
    "results.json": lambda run: run / "results.json",
    "its name": lambda run: Path(run.name),
    "~": lambda run: Path("~") / run.name,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_is_evaluated_whatever_of_it_is_named(trained, monkeypatch, capsys, inject, place):
    monkeypatch.setenv("HOME", str(trained.parent))
    monkeypatch.setattr(results, "RUNS", trained.parent)
    inject("path of another kind")
    assert evaluate.main([str(PLACES[place](trained)), "--device", "cpu"]) == 0
    found = json.loads((trained / "evaluation.json").read_bytes())
    named = {"a checkpoint": "epoch_001.pt", "best_model.pt": "best_model.pt"}.get(place, "epoch_002.pt")
    assert found["epoch"] == checkpoint.load(trained / "checkpoints" / named)["epoch"]
    assert "evaluation.json" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["~/mnist", "~root/mnist" if os.name != "nt" else "~/mnist", "with space/mnist"])
def test_a_path_is_what_a_shell_would_make_of_it(monkeypatch, inject, text):
    monkeypatch.setenv("HOME", "/home/somebody")
    inject("path of another kind")
    path = cli.path(text)
    assert "~" not in str(path)
    assert path.name == "mnist"


@pytest.mark.parametrize("script", ["verdict.py", "results.py", "environment.py"])
def test_a_script_that_is_started_in_another_folder_works_on_the_projects_files(tmp_path, inject, script):
    inject("script started in another folder")
    command = [sys.executable, str(cli.ROOT / script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if script != "environment.py":
        assert str(cli.ROOT / "results") in done.stdout or "| run" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_commit_of_a_repository_around_the_project_is_not_its_own(tmp_path, monkeypatch, inject):
    def git(folder, *words):
        place = ["-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *place, *words], check=True, capture_output=True)

    inside = tmp_path / "courses" / "project"
    inside.mkdir(parents=True)
    (inside / "code.py").write_text("code")
    git(tmp_path, "init")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "theirs")
    monkeypatch.setattr(environment, "ROOT", inside)
    inject("project inside another repository")
    assert environment.commit() == "unknown"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook
    assert environment.commit() == "unknown"
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.commit() != "unknown"


def test_a_run_that_is_not_there_is_a_line(tmp_path, inject):
    inject("path of another kind", 2)
    for path in (tmp_path / "nowhere", tmp_path / "nowhere" / "best_model.pt"):
        with pytest.raises(UserError):
            verdict.check(path)
        with pytest.raises(UserError):
            checkpoint.load_model(path)
