import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from support import UserError, files

import pytest
import spawned
import states

import checkpoint
import environment
import results


@pytest.mark.parametrize("call", ["open", "fdopen", "fsync", "chmod", "replace"])
@pytest.mark.parametrize("number", [5, 28], ids=["input or output error", "full disk"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, inject, call, number):
    path = tmp_path / "file"
    files.replace_file(path, b"old")

    def fail(*_):
        inject("failing write")
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(
            UserError, match=rf"{path} could not be written \({os.strerror(number)}\); its old content is"
        ):
            files.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        files.replace_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_the_order_is_write_sync_rename_sync(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *parts, name=name, call=call: (calls.append(name), call(*parts)))
    files.replace_file(tmp_path / "new" / "file", b"content")
    assert calls == ["fsync", "fsync", "replace", "fsync"]  # the first is of the folder above the new one


def test_temporary_files_of_the_dead_are_swept_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    code = "import os; from support import files; os.replace = lambda *_: os.kill(os.getpid(), 9); "
    code += f"files.replace_file({str(path)!r}, b'')"
    assert subprocess.run([sys.executable, "-c", code, path], cwd=environment.ROOT).returncode == -signal.SIGKILL
    for name in (".file", "file.partial", ".notes.partial", ".file-ab.partial"):
        (tmp_path / name).write_text("mine")
    assert len(list(tmp_path.iterdir())) == 5
    files.sweep(tmp_path)
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted(
        [".file", "file.partial", ".notes.partial", ".file-ab.partial"]
    )


class FileSizeLimit:
    """No file of this process may be larger than so many bytes: the full disk of those who cannot mount one."""

    def __init__(self, size):
        self.size = size

    def __call__(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


def test_a_training_whose_writes_fail_says_so_and_goes_on_once_they_can(launch, tmp_path, inject):
    assert launch("--epochs", 3, out="whole").end()[0] == 0
    assert launch("--epochs", 3, fault=spawned.SavingLines(200, spawned.kill)).end()[0] == -signal.SIGKILL
    before = list(checkpoint.epochs(tmp_path / "run"))
    inject("SIGKILL inside of a save")
    status, _, errors = launch("--epochs", 3, fault=FileSizeLimit(50_000)).end()
    inject("failing write")
    assert status == 1
    assert errors.count("\n") == 1
    assert "could not be written (File too large); its old content is whole" in errors
    assert list(checkpoint.epochs(tmp_path / "run")) == before
    assert launch("--epochs", 3).end()[0] == 0
    states.assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"]).returncode,
    reason="needs a system that lets users mount",
)
@pytest.mark.parametrize(("size", "read_only"), [("700k", False), pytest.param("10m", True, marks=pytest.mark.slow)])
def test_a_disk_that_fills_or_turns_read_only_is_one_line_and_loses_nothing(
    small_folder, tmp_path, inject, size, read_only
):
    script = [sys.executable, str(Path(spawned.__file__).with_name("killed_run.py")), str(small_folder)]
    script += ["--batch-size", "100", "--device", "cpu", "--data", str(small_folder), "--out", str(tmp_path / "disk")]
    disk, report = tmp_path / "disk", tmp_path / "report"
    (disk).mkdir()
    steps = f"mount -t tmpfs -o size={size} tmpfs {disk}\n"
    if read_only:
        steps += f"KILLED=0,3 {' '.join(script)} --epochs 6\nmount -o remount,ro {disk}\n"
    steps += f"{' '.join(script)} --epochs 6; echo status $?\ncp -r {disk} {report}\n"
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["unshare", "-rm", "bash", "-c", steps], env=place, capture_output=True, text=True)
    inject("read-only disk" if read_only else "full disk")
    assert done.stdout.splitlines()[-1] == "status 1", done.stderr
    assert ("Read-only file system" if read_only else "No space left on device") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    found = list(checkpoint.epochs(report))
    assert found
    assert all(checkpoint.is_whole(path) for path in checkpoint.epochs(report).values())
    assert len(results.read(report)["history"]) in (found[-1], found[-1] - 1)
    assert not list(report.rglob(f".*{files.SUFFIX}"))


HOLDER = """
import pathlib, sys, time
from support import files
with files.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLDER, tmp_path]
    with subprocess.Popen(command, cwd=environment.ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path, holder, inject):
    inject("second process in a folder")
    with pytest.raises(UserError, match=f"process {holder.pid} is at work in {tmp_path}"), files.lock(tmp_path):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_does_not_block(tmp_path, holder, inject, number):
    inject("dead holder of a lock")
    holder.send_signal(number)
    holder.wait()
    with files.lock(tmp_path):
        assert (tmp_path / ".lock.pid").read_text() == f"{os.getpid()}\n"


def test_who_waits_is_told_and_gets_it_in_the_end(tmp_path, holder, capsys):
    threading.Timer(0.3, holder.kill).start()
    with files.lock(tmp_path, wait=True):
        assert f"waiting: process {holder.pid} is at work in {tmp_path}" in capsys.readouterr().err


def test_it_can_be_held_again(tmp_path):
    for _ in range(2):
        with files.lock(tmp_path / "new") as check:
            check()
            assert (tmp_path / "new" / ".lock.pid").read_text() == f"{os.getpid()}\n"


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys, inject):
    def no_locks(*_, **__):
        inject("file system without locks")
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.filelock.FileLock, "acquire", no_locks)
    with files.lock(tmp_path):
        assert "cannot be locked (No locks available)" in capsys.readouterr().err


def test_two_trainings_in_one_folder_the_second_is_refused_and_harms_nothing(launch, whole, tmp_path, inject):
    first = launch("--epochs", 6)
    first.wait_for("2/6")
    first.signal(signal.SIGSTOP)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for flags in ((), ("--overwrite",)):
        inject("second training in a folder")
        status, _, errors = launch("--epochs", 6, *flags).end()
        assert status == 1
        assert f"process {first.process.pid} is at work in {tmp_path / 'run'}" in errors
        assert errors.count("\n") == 1
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    first.signal(signal.SIGCONT)
    assert first.end()[0] == 0
    states.assert_same_run(tmp_path / "run", whole[0])


def test_a_stopped_training_is_not_in_the_way(launch, inject):
    first = launch("--epochs", 6)
    first.wait_for("2/6")
    inject("SIGSTOP, then SIGKILL")
    first.signal(signal.SIGSTOP)
    assert launch("--epochs", 6).end()[0] == 1
    first.signal(signal.SIGKILL)
    first.process.join()
    assert launch("--epochs", 6).end()[0] == 0
