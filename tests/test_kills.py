"""Runs that are killed at any moment, and go on; and a folder that all kinds of faults happen to."""

import random
import signal

from support import UserError, files

import pytest
import spawned
import states

import checkpoint
import results

SETTINGS = ("--epochs", 6)
MOMENTS = ((spawned.SAVING, 300), (spawned.TRAINING, 3000))  # a third of the lines that such a run takes


def is_finished(folder):
    try:
        return (results.load(folder) or {"finished": False})["finished"]
    except UserError:  # damaged
        return False


def start_and_kill(launch, out, draw, inject, *flags):
    """Start a run and kill it at a random moment, half of the times one of saving."""
    places, lines = draw.choice(MOMENTS)
    act = draw.choice([spawned.kill, spawned.tear_and_kill])
    training = launch(*SETTINGS, *flags, out=out, fault=spawned.AtLine(draw.randint(1, lines), act, places))
    if training.end()[0] == -signal.SIGKILL:
        inject("SIGKILL at a random moment")


@pytest.mark.parametrize("runs", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_runs_killed_at_random_moments_end_as_the_uninterrupted_one(launch, tmp_path, whole, inject, runs):
    for number in range(runs):
        draw, out = random.Random(number), tmp_path / f"run-{number}"
        for _ in range(3):
            if not is_finished(out):
                start_and_kill(launch, out.name, draw, inject)
        newest = max((epoch for epoch, path in checkpoint.epochs(out).items() if checkpoint.is_whole(path)), default=0)
        finished = is_finished(out)
        status, output, errors = launch(*SETTINGS, out=out.name).end()
        assert status == 0, errors
        if newest and not finished:
            assert f"resuming after epoch {newest} of 6" in output
        states.assert_same_run(out, whole[0])


def damage(path, draw):
    """Damage a file in one of the ways that disks and people have."""
    content = path.read_bytes() or b"\0"  # an earlier fault may have emptied it
    place = draw.randrange(len(content))
    flipped = content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
    path.write_bytes(draw.choice([content[:-100], b"", b"<html>", flipped]))


@pytest.mark.slow
def test_a_soak_of_random_faults_in_one_folder_leaves_the_right_run_and_nothing_else(launch, tmp_path, whole, inject):
    draw, out = random.Random(0), tmp_path / "run"
    for _ in range(30):
        start_and_kill(launch, out.name, draw, inject, *(["--overwrite"] * is_finished(out)))
        saved = [] if is_finished(out) else list(checkpoint.epochs(out).values())
        if len(saved) > 1 and draw.random() < 0.5:
            damage(saved[-1], draw)
            inject("damaged newest checkpoint")
        if saved and draw.random() < 0.3:
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
