import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest
import states

import environment
import lock

HOLDER = """
import pathlib, sys, time, lock
with lock.held(pathlib.Path(sys.argv[1])):
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
    with pytest.raises(BlockingIOError, match=f"process {holder.pid} is at work in {tmp_path}"), lock.held(tmp_path):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_does_not_block(tmp_path, holder, inject, number):
    inject("dead holder of a lock")
    holder.send_signal(number)
    holder.wait()
    with lock.held(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_who_waits_is_told_and_gets_it_in_the_end(tmp_path, holder, capsys):
    threading.Timer(0.3, holder.kill).start()
    with lock.held(tmp_path, wait=True):
        assert f"waiting: process {holder.pid} is at work in {tmp_path}" in capsys.readouterr().err


def test_it_can_be_held_again(tmp_path):
    for _ in range(2):
        with lock.held(tmp_path / "new") as check:
            check()
            assert (tmp_path / "new" / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys, inject):
    def no_locks(*_):
        inject("file system without locks")
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with lock.held(tmp_path):
        assert "cannot be locked (No locks available)" in capsys.readouterr().err


def test_two_trainings_in_one_folder_the_second_is_refused_and_harms_nothing(launch, tmp_path, inject):
    assert launch("--epochs", 6, out="whole").end()[0] == 0
    first = launch("--epochs", 6)
    first.wait_for("epoch 2/6")
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
    states.assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_stopped_training_is_not_in_the_way(launch, inject):
    first = launch("--epochs", 6)
    first.wait_for("epoch 2/6")
    inject("SIGSTOP, then SIGKILL")
    first.signal(signal.SIGSTOP)
    assert launch("--epochs", 6).end()[0] == 1
    first.signal(signal.SIGKILL)
    first.process.join()
    assert launch("--epochs", 6).end()[0] == 0
