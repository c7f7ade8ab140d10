"""Runs that are killed at any moment, and go on; and a folder that all kinds of faults happen to."""

import random
import signal

from support import files

import pytest
import spawned
import states

import checkpoint
import results

SETTINGS = ("--epochs", 6)
SAVING_LINES = 300  # of the some 700 that saving runs in such a run: three kills find their place


def newest_whole(folder):
    """The epoch of the newest whole checkpoint, 0 for none."""
    return max((epoch for epoch, path in checkpoint.epochs(folder).items() if checkpoint.is_whole(path)), default=0)


def is_finished(folder):
    try:
        return (results.read(folder) or {"finished": False})["finished"]
    except ValueError:  # damaged
        return False


def start_and_kill(launch, out, seconds, draw, inject, *flags):
    """Start a run and kill it at a random moment, more often than not one of saving."""
    if draw.random() < 0.6:
        moment, act = draw.randint(1, SAVING_LINES), draw.choice([spawned.kill, spawned.tear_and_kill])
        training = launch(*SETTINGS, *flags, out=out, fault=spawned.SavingLines(moment, act))
    else:
        training = launch(*SETTINGS, *flags, out=out)
        training.process.join(draw.uniform(0, seconds / 2))
        training.process.kill()
    if training.end()[0] == -signal.SIGKILL:
        inject("SIGKILL at a random moment")


def assert_goes_on(launch, out, expected, newest):
    """The next start goes on from the newest whole checkpoint, and ends as the uninterrupted run did."""
    finished = is_finished(out)
    status, output, errors = launch(*SETTINGS, out=out.name).end()
    assert status == 0, errors
    if newest and not finished:
        assert f"resuming after epoch {newest} of 6" in output
    states.assert_same_run(out, expected)


@pytest.mark.parametrize("runs", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_runs_killed_at_random_moments_end_as_the_uninterrupted_one(launch, tmp_path, whole, inject, runs):
    for number in range(runs):
        draw, out = random.Random(number), tmp_path / f"run-{number}"
        for _ in range(3):
            if not is_finished(out):
                start_and_kill(launch, out.name, whole[1], draw, inject)
        assert_goes_on(launch, out, whole[0], newest_whole(out))


def flip_a_bit(path, draw):
    content = bytearray(path.read_bytes() or b"\0")  # an earlier fault may have emptied it
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def damage(path, draw):
    """Damage a file in one of the ways that disks and people have."""
    how = draw.choice(["truncated", "emptied", "flipped a bit of", "replaced"])
    if how == "flipped a bit of":
        flip_a_bit(path, draw)
    else:
        path.write_bytes({"truncated": path.read_bytes()[:-100], "emptied": b"", "replaced": b"<html>"}[how])


@pytest.mark.slow
def test_a_soak_of_random_faults_in_one_folder_leaves_the_right_run_and_nothing_else(launch, tmp_path, whole, inject):
    draw, out = random.Random(0), tmp_path / "run"
    for _ in range(30):
        start_and_kill(launch, out.name, whole[1], draw, inject, *(["--overwrite"] * is_finished(out)))
        found = [] if is_finished(out) else list(checkpoint.epochs(out).values())
        if len(found) > 1 and draw.random() < 0.5:
            damage(found[-1], draw)
            inject("damaged newest checkpoint")
        if found and draw.random() < 0.3:
            (out / "results.json").write_bytes(b"{")
            inject("damaged results.json")
        if draw.random() < 0.3:
            (out / "checkpoints").mkdir(parents=True, exist_ok=True)
            (out / "checkpoints" / f".epoch_001.pt-{draw.randrange(10**8):08}.partial").write_bytes(b"half")
            inject("temporary file left behind")
    status, _, errors = launch(*SETTINGS).end()
    assert status == 0, errors
    states.assert_same_run(out, whole[0])
    with files.lock(out):  # by no process any more
        pass
