"""Windows and macOS: what this machine can tell of them."""

import subprocess
import sys

from support import UserError, files

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


@pytest.mark.process
def test_every_module_imports_without_what_windows_lacks():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=environment.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = subprocess.run(["git", "ls-files", "*.py"], cwd=environment.ROOT, capture_output=True, text=True).stdout
    assert len(done.stdout.split()) >= len(
        [name for name in expected.split() if not name.startswith(("tests/", ".ci/"))]
    )


def test_no_folder_is_opened_to_be_flushed_where_that_is_not_possible(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", refuse)
        with pytest.raises(UserError, match="Permission denied"):
            files.replace_file(tmp_path / "file", b"")
        patch.setattr(files.sys, "platform", "win32")
        files.replace_file(tmp_path / "file", b"")
