"""Windows and macOS: what this machine can tell of them."""

import os
import subprocess
import sys

from support import files

import pytest

import environment

ABSENT = ("fcntl", "pwd", "grp", "resource", "termios")  # on Windows
IMPORT_ALL = f"""
import importlib, pathlib, signal, sys
sys.modules.update(dict.fromkeys({ABSENT}))
for name in ("SIGPIPE", "SIGHUP", "SIGKILL"):
    vars(signal).pop(name, None)
import train
assert not {{"torchvision", "matplotlib", "cv2", "onnx"}} & set(sys.modules), "to train, seconds of imports more"
for path in sorted([*pathlib.Path().glob("*.py"), *pathlib.Path().glob("[ders]*/*.py")]):
    importlib.import_module(".".join(path.with_suffix("").parts))
    print(path)
"""


def test_every_module_imports_without_what_windows_lacks():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=environment.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = subprocess.run(["git", "ls-files", "*.py"], cwd=environment.ROOT, capture_output=True, text=True).stdout
    assert len(done.stdout.split()) >= len([name for name in expected.split() if not name.startswith("tests/")])


def test_no_folder_is_opened_to_be_flushed_where_that_is_not_possible(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "name", "posix")
        patch.setattr(files.os, "open", refuse)
        with pytest.raises(PermissionError):
            files.sync_dir(tmp_path)
        patch.setattr(files.os, "name", "nt")
        files.sync_dir(tmp_path)


@pytest.mark.parametrize(("system", "python"), [("Windows_NT", ".venv/Scripts/python.exe"), ("", ".venv/bin/python")])
def test_make_finds_the_environments_python(system, python):
    command = ["make", "-n", "view-results", f"OS={system}"]
    alone = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=environment.ROOT, capture_output=True, text=True, env=alone)
    assert f'"{python}" verdict.py' in done.stdout
