"""Paths as people have them: with ~, from another folder, of a file in a run, of a run by its name."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support import cli

import pytest

import checkpoint
import environment
import evaluate
import results


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("{run}", "epoch_006.pt"),
        ("{run}/checkpoints", "epoch_006.pt"),
        ("{run}/checkpoints/best_model.pt", "best_model.pt"),
        ("{run}/checkpoints/epoch_003.pt", "epoch_003.pt"),
        ("{run}/results.json", "epoch_006.pt"),
        ("{run.name}", "epoch_006.pt"),
        ("~/{run.name}", "epoch_006.pt"),
    ],
)
def test_a_run_is_evaluated_whatever_of_it_is_named(whole, small_mnist, tmp_path, monkeypatch, inject, place, file):
    run = Path(shutil.copytree(whole[0], tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(results, "RUNS", tmp_path)
    inject("path of another kind")
    evaluate.main([place.format(run=run), "--device", "cpu"])
    evaluation = json.loads((run / "evaluation.json").read_bytes())
    assert evaluation["epoch"] == checkpoint.load(run / "checkpoints" / file)["epoch"]


@pytest.mark.process
def test_a_script_that_is_started_in_another_folder_works_on_the_projects_files(tmp_path, inject):
    inject("script started in another folder")
    command = [sys.executable, cli.ROOT / "results.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == f"{cli.ROOT / 'results' / 'default-seed0'}\n", done.stderr
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
