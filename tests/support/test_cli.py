import os
import subprocess
import sys

from support import UserError, cli

import pytest

import environment


def script(*arguments, **settings):
    return subprocess.run(
        [sys.executable, *arguments], cwd=environment.ROOT, capture_output=True, text=True, **settings
    )


def test_what_a_person_can_mend_is_one_line_and_status_1(capsys):
    def main():
        raise UserError("the file is torn")

    assert cli.run(main) == 1
    errors = capsys.readouterr().err
    assert errors.endswith("the file is torn\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        KeyError("missing"),
        ValueError("not enough values to unpack (expected 2, got 1)"),
        ZeroDivisionError("division by zero"),
        FileNotFoundError(2, "No such file or directory", "weights.bin"),
        OSError(5, "Input/output error", "weights.bin"),
        RuntimeError("required rank 4 tensor to use channels_last memory format"),
        TypeError("forward() takes 1 positional argument"),
    ],
)
def test_a_fault_of_the_program_or_of_a_model_keeps_its_traceback(inject, error):
    def main():
        raise error

    inject("bug of a contributor")
    with pytest.raises(type(error)):
        cli.run(main)


def test_ctrl_c_is_status_130(capsys):
    def main():
        raise KeyboardInterrupt

    assert cli.run(main) == 130
    assert "stopped" in capsys.readouterr().err


KILL_ITSELF = (
    "import os, signal, sys; from support import cli; sys.exit(cli.run(lambda: os.kill(os.getpid(), signal.{})))"
)
LINES = "import sys; from support import cli; sys.exit(cli.run(lambda: print('line\\n' * 100_000), *sys.argv[1:]))"


def shell(command, *arguments):
    """A shell command, in which $0 is Python and $@ are the arguments; errors come with the output."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, *arguments],
        cwd=environment.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_reader_that_leaves_early_is_no_fault(inject):
    inject("output that nobody reads")
    done = shell('"$0" -c "$@" | head -1', LINES)
    assert (done.returncode, done.stdout) == (141, "line\n")


def test_a_reader_that_leaves_early_stops_what_can_go_on_with_a_line(inject):
    inject("output that nobody reads")
    done = shell('"$0" -c "$@" | head -1', LINES, "run it again")
    assert done.returncode == 141
    assert sorted(done.stdout.splitlines()) == ["-c: stopped: nobody reads the output any more; run it again", "line"]


@pytest.mark.parametrize("listener", ["| head -1", ">/dev/full 2>&1", "2>/dev/full >/dev/full"])
def test_errors_that_nobody_reads_do_not_change_the_status(inject, listener):
    inject("errors that nobody reads")
    done = shell(f'"$0" -c "$@" 2>&1 {listener}', LINES, "run it again")
    assert done.returncode == (141 if "head" in listener else 1)
    code = KILL_ITSELF.format("SIGTERM")
    assert shell('"$0" -c "$@" 2>/dev/full', code).returncode == 143


def test_output_that_knows_no_unicode_is_no_fault(inject):
    inject("output without Unicode")
    code = "import sys; from support import cli; sys.exit(cli.run(lambda: print('99 ≥ 98')))"
    done = shell('PYTHONIOENCODING=ascii "$0" -c "$@"', code)
    assert (done.returncode, done.stdout) == (0, "99 ? 98\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory."),
    ],
)
def test_too_little_memory_is_one_line(capsys, inject, error):
    def main():
        raise error

    inject("too little memory")
    assert cli.run(main) == 1
    assert capsys.readouterr().err.endswith("out of memory: use a smaller batch size\n")


def test_closed_output_is_no_fault(inject):
    inject("closed output", 2)
    assert shell('"$0" results.py >&-').returncode == 0
    assert shell('"$0" results.py >&- 2>&-').returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_to_a_full_disk_is_one_line(inject):
    inject("full disk")
    done = shell('"$0" -c "$@" >/dev/full', LINES)
    assert (done.returncode, done.stdout) == (1, "-c: the output could not be written (No space left on device)\n")


def test_a_signal_that_was_ignored_at_the_start_stays_so():
    code = KILL_ITSELF.format("SIGINT")
    assert shell('trap "" INT; "$0" -c "$@"', code).returncode == 0
    assert shell('"$0" -c "$@"', code).returncode == 130


def test_results_and_recipes_need_no_torch():
    done = script("-c", "import sys, results; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0


def test_make_lists_every_target_it_has():
    done = subprocess.run(["make"], cwd=environment.ROOT, capture_output=True, text=True, check=True).stdout
    targets = [
        line.split(":")[0]
        for line in (environment.ROOT / "Makefile").read_text().splitlines()
        if ": " in line and " ## " in line
    ]
    assert len(targets) >= 19
    assert all(f"make {target} " in done for target in targets)
