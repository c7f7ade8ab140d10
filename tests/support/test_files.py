"""Files and folders under the faults that disks, people and other processes make."""

import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support import UserError, cli, files

import pytest
import spawned
import states

import checkpoint


@pytest.mark.parametrize("call", ["builtins.open", "os.fsync", "os.replace"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, inject, call, number):
    path, reason = tmp_path / "file", os.strerror(number)
    files.replace_file(path, b"old")

    def fail(*_):
        inject("failing write")
        raise OSError(number, reason)

    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        with pytest.raises(UserError, match=rf"{path} could not be written \({reason}\); its old content is whole"):
            files.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_is_write_sync_rename_sync_and_the_mode_what_the_umask_leaves(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *parts, name=name, call=call: (calls.append(name), call(*parts)))
    files.replace_file(tmp_path / "new" / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "new" / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.process
def test_temporary_files_of_the_dead_are_swept_and_nothing_else(tmp_path):
    code = "import os, sys; from support import files; os.replace = lambda *_: os.kill(os.getpid(), 9); "
    code += "files.replace_file(sys.argv[1], b'')"
    subprocess.run([sys.executable, "-c", code, tmp_path / "file"], cwd=cli.ROOT)
    mine = {".file", "file.partial", ".notes.partial", ".file-ab.partial", ".my-document.partial"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    assert len(list(tmp_path.iterdir())) == len(mine) + 1
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == mine


def test_a_training_whose_writes_fail_says_so_and_goes_on_once_they_can(launch, whole, tmp_path, inject):
    resource = pytest.importorskip("resource")
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (50_000, 50_000))
    inject("failing write")
    status, _, errors = launch("--epochs", 6, fault=spawned.Before(spawned.END_OF_EPOCH, limit, 2)).end()
    assert (status, errors.count("\n")) == (1, 1)
    assert "could not be written (File too large); its old content is whole" in errors
    assert list(checkpoint.epochs(tmp_path / "run")) == [1]
    assert launch("--epochs", 6).end()[0] == 0
    states.assert_same_run(tmp_path / "run", whole[0])


FULL_THEN_READ_ONLY = """
mount -t tmpfs -o size=700k tmpfs "$0"
"$@"; echo $?
mount -o remount,ro "$0"
"$@"; echo $?
cp -r "$0" "$0-full"
mount -o remount,rw,size=10m "$0"
"$@" >/dev/null; echo $?
cp -r "$0" "$0-whole"
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"]).returncode,
    reason="needs a system that lets users mount",
)
def test_a_disk_that_fills_or_turns_read_only_is_one_line_and_loses_nothing(small_folder, whole, tmp_path, inject):
    disk, script = tmp_path / "disk", Path(spawned.__file__).with_name("killed_run.py")
    disk.mkdir()
    training = [sys.executable, script, small_folder, "--data", small_folder, "--out", disk]
    training += ["--epochs", "6", "--batch-size", "100", "--device", "cpu"]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["unshare", "-rm", "bash", "-c", FULL_THEN_READ_ONLY, disk, *training]
    inject("full disk")
    inject("read-only disk")
    done = subprocess.run(command, env=place, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["1", "0"], done.stderr
    full, read_only = done.stderr.splitlines()
    assert full.endswith("could not be written (No space left on device); its old content is whole")
    assert read_only.endswith("could not be used (Read-only file system)")
    saved = checkpoint.epochs(f"{disk}-full").values()
    assert saved and all(map(checkpoint.is_whole, saved))
    assert not list(Path(f"{disk}-full").rglob(f".*{files.SUFFIX}"))
    states.assert_same_run(Path(f"{disk}-whole"), whole[0])


HOLDER = """
import pathlib, sys, time
from support import files
with files.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.process
def test_the_lock_of_a_dead_process_does_not_block(tmp_path, monkeypatch, capsys, inject):
    def acquire_once_free(lock, blocking=True):
        if blocking:
            inject("dead holder of a lock")
            holder.kill()
        return acquire(lock, blocking=blocking)

    acquire = files.filelock.FileLock.acquire
    monkeypatch.setattr(files.filelock.FileLock, "acquire", acquire_once_free)
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=cli.ROOT, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with files.lock(tmp_path, wait=True) as check:
            check()
            assert f"waiting: process {holder.pid} is at work in {tmp_path}" in capsys.readouterr().err
            assert (tmp_path / ".lock.pid").read_text() == f"{os.getpid()}\n"


def test_a_signal_at_the_end_of_a_lock_is_not_lost_as_no_lock_is_dropped(tmp_path, monkeypatch):
    dropped = []  # Python goes on after what is raised meanwhile
    monkeypatch.setattr(files.filelock.BaseFileLock, "__del__", lambda lock: dropped.append(lock))
    for _ in range(2):
        with files.lock(tmp_path) as check:
            check()
    assert not dropped


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys, inject):
    def no_locks(*_, **__):
        inject("file system without locks")
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.filelock.FileLock, "acquire", no_locks)
    with files.lock(tmp_path):
        assert "cannot be locked (No locks available)" in capsys.readouterr().err


def test_two_trainings_in_one_folder_the_second_is_refused_and_harms_nothing(launch, whole, tmp_path, inject):
    def contents():
        return {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    first = launch("--epochs", 6)
    first.wait_for("2/6")
    first.signal(signal.SIGSTOP)
    before = contents()
    for flags in ((), ("--overwrite",)):
        inject("second training in a folder")
        status, _, errors = launch("--epochs", 6, *flags).end()
        assert (status, errors.count("\n")) == (1, 1)
        assert f"process {first.process.pid} is at work in {tmp_path / 'run'}" in errors
    assert contents() == before
    first.signal(signal.SIGCONT)
    assert first.end()[0] == 0
    states.assert_same_run(tmp_path / "run", whole[0])
