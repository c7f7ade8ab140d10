"""Scripts end with one line and the right status, whatever becomes of them and of their output."""

import os
import subprocess
import sys

from support import UserError, cli

import pytest

MEMORY = "out of memory: use a smaller batch size"
MENDABLE = [
    (UserError("the file is torn"), "the file is torn"),
    (MemoryError(), MEMORY),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), MEMORY),
    (RuntimeError("CUDA out of memory."), MEMORY),
]
FAULTS = [
    KeyError("missing"),
    ValueError("not enough values to unpack (expected 2, got 1)"),
    FileNotFoundError(2, "No such file or directory", "weights.bin"),
    OSError(5, "Input/output error", "weights.bin"),
    RuntimeError("required rank 4 tensor to use channels_last memory format"),
]


def failing(error):
    raise error


@pytest.mark.parametrize(("error", "line"), MENDABLE)
def test_what_a_person_can_mend_is_one_line_and_status_1(capsys, inject, error, line):
    inject("error that a person can mend")
    with pytest.raises(SystemExit, match="1"):
        cli.run(lambda: failing(error))
    assert capsys.readouterr().err == f"{os.path.basename(sys.argv[0])}: {line}\n"


@pytest.mark.parametrize("error", FAULTS)
def test_a_fault_of_the_program_or_of_a_model_keeps_its_traceback(inject, error):
    inject("bug of a contributor")
    with pytest.raises(type(error)):
        cli.run(lambda: failing(error))


def script(main):
    return f"import os, signal, sys; from support import cli; cli.run(lambda: {main}, *sys.argv[1:])"


LINES, SIGN = script(r"print('line\n' * 100_000)"), script("print('99 ≥ 98')")
SIGINT, SIGTERM = (script(f"os.kill(os.getpid(), signal.{name})") for name in ("SIGINT", "SIGTERM"))
LOST = "-c: the output could not be written"
AGAIN = "run it again"


@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "arguments", "status", "output"),
    [
        ('"$0" -c "$@" | head -1', [LINES], 141, ["line"]),
        ('"$0" -c "$@" | head -1', [LINES, AGAIN], 141, [f"{LOST} (Broken pipe); {AGAIN}", "line"]),
        ('"$0" -c "$@" 2>&1 | head -1', [LINES, AGAIN], 141, ["line"]),
        ('"$0" -c "$@" >/dev/full', [LINES], 1, [f"{LOST} (No space left on device)"]),
        ('"$0" -c "$@" >/dev/full 2>&1', [LINES], 1, []),
        ('"$0" -c "$@" 2>/dev/full', [SIGTERM], 143, []),
        ('"$0" -c "$@" >&-', [SIGN], 0, []),
        ('"$0" -c "$@" >&- 2>&-', [SIGN], 0, []),
        ('PYTHONIOENCODING=ascii "$0" -c "$@"', [SIGN], 0, ["99 ? 98"]),
        ('"$0" -c "$@"', [SIGINT, AGAIN], 130, [f"-c: stopped by Ctrl-C; {AGAIN}"]),
        ('trap "" INT; "$0" -c "$@"', [SIGINT], 0, []),
    ],
)
def test_output_that_nobody_can_read_and_signals_that_are_ignored(inject, command, arguments, status, output):
    if "/dev/full" in command and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    inject("output that nobody can read")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, *arguments],
        cwd=cli.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.returncode, sorted(done.stdout.splitlines())) == (status, output)
