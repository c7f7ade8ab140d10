import subprocess
import sys

import pytest

import cli
import environment


def script(*arguments, **settings):
    return subprocess.run(
        [sys.executable, *arguments], cwd=environment.ROOT, capture_output=True, text=True, **settings
    )


def test_what_a_person_can_mend_is_one_line_and_status_1(capsys):
    def main():
        raise ValueError("the file is torn")

    assert cli.run(main) == 1
    errors = capsys.readouterr().err
    assert errors.endswith("the file is torn\n")
    assert errors.count("\n") == 1


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(KeyError):
        cli.run(lambda: {}["missing"])


def test_ctrl_c_is_status_130(capsys):
    def main():
        raise KeyboardInterrupt

    assert cli.run(main) == 130
    assert "stopped" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_fault():
    code = "import cli, sys; sys.exit(cli.run(lambda: print('line\\n' * 100_000)))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=environment.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_viewing_results_needs_no_torch():
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
