import re
import subprocess

import pytest
from packaging.requirements import Requirement

import environment


def test_a_ready_machine_passes(mnist_folder, capsys):
    assert environment.main(["--data", str(mnist_folder)]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in ("python", "torch", "device", "threads", "disk", "4 files verified"))
    assert "✗" not in output


def test_what_is_wrong_is_named_with_its_remedy(tmp_path, capsys, monkeypatch):
    wanted = [Requirement("torch>=99.0"), Requirement("no-such-package>=1.0")]
    monkeypatch.setattr(environment, "requirements", lambda: wanted)
    assert environment.main(["--data", str(tmp_path)]) == 1
    failed = dict(re.findall(r"^✗ (\S+) +(.*)$", capsys.readouterr().out, re.MULTILINE))
    assert failed["torch"].endswith("→ needs torch>=99.0: make env-update")
    assert failed["no-such-package"].startswith("missing")
    assert failed["data"].endswith("→ make data DATASET=mnist")
    assert failed.keys() == {"torch", "no-such-package", "data"}


@pytest.mark.parametrize(("floor", "enough"), [("1.9", True), ("2.0", True), ("2.0.1", False), ("2.10", False)])
def test_versions_compare_as_numbers(monkeypatch, floor, enough):
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda _: "2.0+cpu")
    assert environment.check_package(Requirement(f"torch>={floor}")).passed == enough


@pytest.fixture
def git(tmp_path):
    def run(*words):
        place = ["-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *place, *words], check=True, capture_output=True, text=True).stdout.strip()

    return run


def test_changed_code_makes_a_commit_dirty_and_a_written_record_does_not(tmp_path, monkeypatch, git):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.commit() == "unknown" and environment.origin("unknown") == {}
    (tmp_path / "results").mkdir()
    for name in ("code.py", "results/record.json"):
        (tmp_path / name).write_text("before")
    git("init")
    git("add", "-A")
    git("commit", "-m", "first", "--date", "2026-01-02T12:00:00")
    assert environment.origin(environment.commit()) == {"date": "2026-01-02", "author": "a"}
    (tmp_path / "results" / "record.json").write_text("after")
    assert environment.commit() == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("after")
    assert environment.commit() == git("rev-parse", "HEAD") + "-dirty"


def test_a_commit_is_foreign_where_a_whole_history_lacks_it(tmp_path, monkeypatch, git):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert not environment.is_foreign("0123abc")  # no history
    git("init")
    git("commit", "--allow-empty", "-m", "first")
    assert not environment.is_foreign(git("rev-parse", "HEAD"))
    assert environment.is_foreign("0123abc")
    git("commit", "--allow-empty", "-m", "second")
    git("clone", "--depth", "1", f"file://{tmp_path}", "shallow")
    monkeypatch.setattr(environment, "ROOT", tmp_path / "shallow")
    assert not environment.is_foreign("0123abc")
