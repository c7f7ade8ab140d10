"""The virtual environment: shell scripts that write down their starts stand for Python, pip and uv in most tests."""

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from pathlib import Path

from support import install

import pytest

SCRIPT = Path(install.__file__)
OLD = [
    *(path for path in map(shutil.which, ("python3.8", "python3.9", "python3.10")) if path and "shims" not in path),
    *(str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3.[6-9]")),
    *(str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3.10")),
]
WITHOUT_UV = [
    *(sys.executable, "-c"),
    f"import runpy, shutil; shutil.which = lambda _: None; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')",
]
ENOUGH = 50e9
CUDA_PIP = ["pip install --quiet -r requirements.txt"]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_PIP = [f"pip install --quiet --index-url {CPU_INDEX} torch>=2.10 torchvision>=0.25", *CUDA_PIP]
UV = ["uv pip install --python .venv/bin/python --quiet -r requirements.txt"]
AUTO_UV = [
    "UV_TORCH_BACKEND=auto uv pip install --python .venv/bin/python --quiet torch>=2.10 torchvision>=0.25",
    f"UV_TORCH_BACKEND=auto {UV[0]}",
]


class Place:
    """The working directory, with requirements files and programs that only write down their starts."""

    def __init__(self, folder):
        self.folder, self.venv, self.log = folder, folder / ".venv", folder / "log"
        (folder / "requirements.txt").write_text("# All.\ntorch>=2.10\ntorchvision>=0.25 # too\ntorchinfo>=1\nnumpy\n")
        (folder / "requirements-dev.txt").write_text("ruff\n")

    def program(self, path, steps, name=""):
        """A program that writes down its start, without flags that all have, and takes some steps."""
        path.parent.mkdir(parents=True, exist_ok=True)
        start = f'echo "${{UV_TORCH_BACKEND:+UV_TORCH_BACKEND=$UV_TORCH_BACKEND }}{name}$*" >>"{self.log}"'
        path.write_text(f"#!/bin/sh\n{start}\n{steps}\n")
        path.chmod(0o755)
        return str(path)

    def make(self, folder=None, minor="3.11", made_with=None, pip=True, steps=""):
        """An environment that looks sound; its pip takes some steps."""
        folder = folder or self.venv
        looked = f'case "$*" in *find_spec*) echo {minor} {pip}; exit;; esac'
        self.program(folder / "bin" / "python", f"{looked}\n{steps}")
        (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {made_with or minor}.2\n")
        return folder

    def started(self, looks=False):
        """The programs that were started since the last call, in order; those that look only if asked."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        lines = [line.replace("-I -m ", "").replace(f"{self.folder}{os.sep}", "") for line in lines]
        return [line for line in lines if "find_spec" not in line or looks]

    def process(self, *arguments):
        """The script as a process of its own, in a group of its own like a job of a shell."""
        return subprocess.Popen(
            [*WITHOUT_UV, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine with no uv, no driver, no network and an empty disk."""
    place = Place(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("UV_TORCH_BACKEND", "UV_PYTHON", *install.UV_INDEXES, *install.PIP_INDEXES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(install, "UV", None)
    monkeypatch.setattr(install, "has_driver", lambda: False)
    monkeypatch.setattr(install, "cpu_index_answers", lambda: False)
    free(monkeypatch, ENOUGH)
    made = place.make(tmp_path / "made")
    copy = f'for last; do :; done; cp -R "{made}/." "$last"'
    monkeypatch.setattr(sys, "_base_executable", place.program(tmp_path / "system-python", copy), raising=False)
    place.uv = place.program(tmp_path / "uv", f'[ "$1" != venv ] || {{ {copy}; }}', "uv ")
    return place


@pytest.fixture
def run(place, capsys):
    """Runs the script on .venv, or other arguments; returns (exit status, output, errors)."""

    def start(*arguments):
        try:
            status = install.main([*map(str, arguments)] or [".venv", "requirements.txt"])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return start


def free(monkeypatch, size):
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(size))


def assert_one_line(done, *parts, status=1):
    """What run returned is a failure that says so."""
    assert done[0] == status
    assert done[2].startswith("install.py: ")
    assert done[2].count("\n") == 1
    for part in parts:
        assert part in done[2]


def test_only_the_standard_library_is_imported_and_nothing_beside_the_script_hides_it():
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.split(".")[0] for name in imported}
    assert imported <= sys.stdlib_module_names
    assert not sys.stdlib_module_names & {path.stem for path in SCRIPT.parent.glob("*.py")}


def test_a_python_that_is_too_old_is_named_before_anything_is_made(place, run, monkeypatch, inject):
    inject("precondition of the install")
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    assert_one_line(
        run(), f"{sys.executable} is Python 3.10.13, this project needs Python 3.11", "make SYSTEM_PYTHON=python3.11"
    )
    assert not place.venv.exists()
    assert place.started(looks=True) == []


@pytest.mark.parametrize("python", OLD)
def test_a_real_old_python_comes_as_far_as_to_say_so(place, inject, python):
    inject("precondition of the install")
    command = [python, SCRIPT, ".venv", "requirements.txt"]
    done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True)
    assert_one_line((done.returncode, done.stdout, done.stderr), f"{python} is Python 3.", "needs Python 3.11 or later")
    assert not place.venv.exists()


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_is_told_the_package_and_no_folder_is_left(place, run, monkeypatch, inject, module):
    inject("precondition of the install")
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None if name == module else name)
    assert_one_line(run(), f"lacks the module {module}", f"apt install python3.{sys.version_info[1]}-venv")
    assert not place.venv.exists()


def test_uv_needs_no_module_venv(place, run, monkeypatch):
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(install, "UV", place.uv)
    assert run()[0] == 0


def dangle(python):
    python.unlink()
    python.symlink_to("/usr/bin/python3.9-of-the-last-system")


UNSOUND = {
    "dangling": (lambda place: dangle(place.make() / "bin" / "python"), "its Python does not start"),
    "no program": (
        lambda place: (place.make() / "bin" / "python").write_bytes(b"\x7fELF"),
        "its Python does not start",
    ),
    "other minor": (lambda place: place.make(made_with="3.12"), "made with Python 3.12, and its Python is now 3.11"),
    "too old": (lambda place: place.make(minor="3.10"), "its Python is 3.10"),
    "no pip": (lambda place: place.make(pip=False), "it has no pip"),
    "unfinished": (lambda place: (place.make() / ".unfinished").touch(), "it is half made"),
    "just begun": (lambda place: (place.venv.mkdir(), (place.venv / ".unfinished").touch()), "it is half made"),
}


@pytest.mark.parametrize(("damage", "reason"), UNSOUND.values(), ids=UNSOUND)
@pytest.mark.parametrize("uv", [False, True], ids=["venv", "uv"])
def test_an_environment_that_is_not_sound_is_made_again(place, run, monkeypatch, inject, damage, reason, uv):
    inject("precondition of the install")
    damage(place)
    for left in (".installed", ".installed-dev", "lib/python3.9/site-packages/torch-2.0.dist-info/METADATA"):
        (place.venv / left).parent.mkdir(parents=True, exist_ok=True)
        (place.venv / left).touch()
    monkeypatch.setattr(install, "UV", place.uv if uv else None)
    status, output, _ = run()
    assert status == 0
    assert output.splitlines()[0].startswith("making .venv: ")
    assert reason in output.splitlines()[0]
    made, *installed = place.started()
    seed = f"uv venv --quiet --seed --allow-existing --python {sys._base_executable} .venv"
    assert made == (seed.replace(f"{place.folder}/", "") if uv else "venv .venv")
    assert installed == (UV if uv else CUDA_PIP)
    kept = {".install.lock", ".installed", "bin", "pyvenv.cfg"}
    assert {path.name for path in place.venv.iterdir()} == kept


def test_an_environment_that_turns_out_unsound_is_not_taken_for_made(place, run, inject):
    inject("precondition of the install")
    place.make(place.folder / "made", minor="3.10")
    assert_one_line(run(), ".venv could not be made with", "its Python is 3.10", "make VENV=folder")
    assert place.started() == ["venv .venv"]


def test_a_venv_that_fails_is_one_line_and_made_again_at_the_next_start(place, run, monkeypatch, inject):
    with monkeypatch.context() as patch:
        inject("failing venv")
        steps = 'mkdir -p "$4/lib"; echo "Error: [Errno 28] No space left on device" >&2; exit 1'
        patch.setattr(sys, "_base_executable", place.program(place.folder / "failing", steps))
        assert_one_line(run(), ".venv could not be made", "Error: [Errno 28] No space left on device; mend that")
    assert "it is" in run()[1].splitlines()[0]
    assert not (place.venv / "lib").exists()


@pytest.mark.parametrize("file", [False, True], ids=["folder", "file"])
def test_what_is_no_virtual_environment_is_never_touched(place, run, inject, file):
    inject("precondition of the install")
    diary = place.venv if file else place.venv / "diary.txt"
    diary.parent.mkdir(exist_ok=True)
    diary.write_text("mine")
    assert_one_line(run(), ".venv is there, but no virtual environment", "left as it is", "make VENV=folder")
    assert diary.read_text() == "mine"
    assert file or list(place.venv.iterdir()) == [diary]
    assert place.started() == []


def test_a_link_stays_and_its_target_is_made_again(place, run, inject):
    inject("precondition of the install")
    target = place.make(place.folder / "other disk" / "venv", pip=False)
    (target / "left").touch()
    place.venv.symlink_to(target)
    assert run()[1].startswith(f"making .venv at {target}, where it links to: it has no pip\n")
    assert place.venv.readlink() == target
    assert not (target / "left").exists()
    assert (target / ".installed").exists()


def test_the_missing_target_of_a_link_is_made(place, run, inject):
    inject("precondition of the install")
    place.venv.symlink_to("other disk/venv")
    assert f"making .venv at {place.folder / 'other disk' / 'venv'}, where it links to: it is missing" in run()[1]
    assert place.venv.is_symlink()
    assert (place.folder / "other disk" / "venv" / ".installed").exists()


def test_the_home_folder_can_be_named(place, run, monkeypatch):
    monkeypatch.setenv("HOME", str(place.folder))
    assert run("~/my venv", "requirements.txt")[0] == 0
    assert (place.folder / "my venv" / ".installed").exists()


def test_a_folder_that_cannot_be_made_is_one_line(place, run, inject):
    inject("precondition of the install")
    assert_one_line(run("/proc/venv", "requirements.txt"), "/proc/venv", "make VENV=folder")


@pytest.mark.parametrize(("answers", "needed"), [(True, 1.5), (False, 7.0)], ids=["CPU", "CUDA"])
def test_too_little_disk_is_told_before_anything_is_fetched(place, run, monkeypatch, inject, answers, needed):
    monkeypatch.setattr(install, "cpu_index_answers", lambda: answers)
    inject("precondition of the install")
    free(monkeypatch, needed * 1e9 - 1e8)
    parts = (f"{needed - 0.1:.1f} GB are free on the disk of .venv", f"needs {needed} GB", "VENV=/another/disk/venv")
    assert_one_line(run(), *parts)
    assert place.started() == ["venv .venv"]
    free(monkeypatch, needed * 1e9)
    assert run()[0] == 0
    assert place.started() == (CPU_PIP if answers else CUDA_PIP)


def test_where_torch_is_there_the_disk_and_the_network_are_not_asked(place, run, monkeypatch):
    (place.make() / "lib/python3.11/site-packages/torch-2.15.0.dist-info").mkdir(parents=True)
    free(monkeypatch, 0)
    monkeypatch.delattr(install, "cpu_index_answers")
    assert run()[:2] == (0, "installing what requirements.txt asks for into .venv\n")
    assert place.started() == CUDA_PIP


def test_a_cpu_build_stays_one_when_the_requirements_change(place, run, monkeypatch):
    (place.make() / "lib/python3.11/site-packages/torch-2.15.0+cpu.dist-info").mkdir(parents=True)
    monkeypatch.setattr(install, "cpu_index_answers", lambda: True)
    assert run()[0] == 0
    assert place.started() == CPU_PIP


BUILDS = {
    "pip, driver": (False, True, False, {}, CUDA_PIP, "with CUDA"),
    "pip, index": (False, False, True, {}, CPU_PIP, "for the CPU"),
    "pip, nothing": (
        False,
        False,
        False,
        {},
        CUDA_PIP,
        "no NVIDIA driver here, but PyTorch's CPU index did not answer",
    ),
    "pip, own index": (False, False, True, {"PIP_INDEX_URL": "https://a/simple"}, CUDA_PIP, "PIP_INDEX_URL is set"),
    "pip, own CPU": (False, False, True, {"PIP_EXTRA_INDEX_URL": "https://a/cpu"}, CUDA_PIP, "for the CPU (about 0.2"),
    "pip, backend": (
        *(False, True, False, {"UV_TORCH_BACKEND": "cpu"}),
        [f"UV_TORCH_BACKEND=cpu {line}" for line in CPU_PIP],
        "for the CPU",
    ),
    "uv, driver": (True, True, False, {}, AUTO_UV, "with CUDA"),
    "uv, index": (True, False, True, {}, AUTO_UV, "for the CPU"),
    "uv, nothing": (True, False, False, {}, UV, "did not answer"),
    "uv, own index": (True, True, True, {"UV_DEFAULT_INDEX": "https://a/simple"}, UV, "UV_DEFAULT_INDEX is set"),
    "uv, backend": (
        *(True, True, True, {"UV_TORCH_BACKEND": "cpu"}),
        [line.replace("auto", "cpu") for line in AUTO_UV],
        "for the CPU (about 0.2 GB to fetch) and the rest of requirements.txt into .venv, once: UV_TORCH_BACKEND is",
    ),
}


@pytest.mark.parametrize(("uv", "driver", "answers", "variables", "commands", "told"), BUILDS.values(), ids=BUILDS)
def test_the_build_of_torch_fits_the_machine(place, run, monkeypatch, uv, driver, answers, variables, commands, told):
    place.make()
    monkeypatch.setattr(install, "UV", place.uv if uv else None)
    monkeypatch.setattr(install, "has_driver", lambda: driver)
    monkeypatch.setattr(install, "cpu_index_answers", lambda: answers)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    status, output, _ = run()
    assert status == 0
    assert output.count("\n") == 1
    assert told in output
    assert place.started() == commands


def test_other_systems_take_what_the_usual_index_has(place, run, monkeypatch):
    place.make()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(install, "cpu_index_answers")
    assert "installing torch for the CPU" in run()[1]
    assert place.started() == CUDA_PIP


NO_CPU = 'case "$*" in *whl/cpu*) echo "ERROR: 502 Bad Gateway" >&2; exit 1;; esac'


def test_where_the_index_of_cpu_builds_fails_the_usual_one_is_taken(place, run, monkeypatch, inject):
    monkeypatch.setattr(install, "cpu_index_answers", lambda: True)
    place.make(steps=NO_CPU)
    inject("failing pip")
    status, output, errors = run()
    assert (status, errors) == (0, "")
    assert "installing torch with CUDA (about 3 GB to fetch, 6 GB on disk) from the usual index" in output
    assert "PyTorch's own failed: ERROR: 502 Bad Gateway" in output
    assert place.started() == CPU_PIP


def test_and_the_disk_is_looked_at_again(place, run, monkeypatch, inject):
    monkeypatch.setattr(install, "cpu_index_answers", lambda: True)
    place.make(steps=NO_CPU)
    free(monkeypatch, 2e9)
    inject("precondition of the install")
    assert_one_line(run(), "2.0 GB are free", "needs 7.0 GB")
    assert place.started() == CPU_PIP[:1]


@pytest.fixture
def index(monkeypatch):
    """An index that accepts connections, and answers those that it is asked to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(install, "TORCH_INDEX", f"http://127.0.0.1:{server.getsockname()[1]}/")
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(install, "PROBE_SECONDS", 0.3)
        yield server


def test_an_index_that_answers_is_found(index):
    def answer():
        connection, _ = index.accept()
        with connection:
            assert connection.recv(1000).startswith(b"GET /cpu/ ")
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\npackages")

    install.PROBE_SECONDS = 10
    threading.Thread(target=answer).start()
    assert install.cpu_index_answers()


@pytest.mark.parametrize(
    "fault", ["silent server", "trickling server", "hanging name server", "no server", "error page"]
)
def test_a_probe_that_gets_no_answer_ends_in_time(index, monkeypatch, inject, fault):
    def trickle():
        connection, _ = index.accept()
        with connection:
            if fault == "error page":
                connection.sendall(b"HTTP/1.0 503 Service Unavailable\r\n\r\n")
            else:
                for _ in range(10):  # each byte within the time limit of a read
                    connection.sendall(b"H")
                    time.sleep(0.1)

    inject("index that does not answer")
    if fault in ("trickling server", "error page"):
        threading.Thread(target=trickle, daemon=True).start()
    elif fault == "hanging name server":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2))
    elif fault == "no server":
        index.close()
    start = time.monotonic()
    assert not install.cpu_index_answers()
    assert time.monotonic() - start < 1


PIP_FAILS = (
    "pip could not install requirements.txt into .venv: ERROR: No matching distribution found for numpy (no connection)"
    "; mend that and run the same command again: it goes on"
)
UV_FAILS = "uv could not install requirements.txt into .venv: error: no such wheel because of it; mend that and run"


@pytest.mark.parametrize("uv", [False, True], ids=["pip", "uv"])
def test_a_failing_install_is_one_line_and_is_repeated(place, run, monkeypatch, inject, uv):
    errors = """
        echo "WARNING: Retrying (Retry(total=0)) after connection broken by NameResolutionError" >&2
        echo "ERROR: Could not find a version that satisfies the requirement numpy (from versions: none)" >&2
        echo "ERROR: No matching distribution found for numpy" >&2
        exit 1"""
    place.make(steps=errors)
    failing = place.program(
        place.folder / "failing-uv", 'echo "error: no such wheel\n  because of it" >&2; exit 2', "uv "
    )
    monkeypatch.setattr(install, "UV", failing if uv else None)
    for _ in range(2):
        inject("failing pip")
        assert_one_line(run(), UV_FAILS if uv else PIP_FAILS)
        assert place.started() == (UV if uv else CUDA_PIP)
    assert not (place.venv / ".installed").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_install_that_is_stopped_leaves_no_stamp_and_goes_on_at_the_next_start(place, run, inject, number):
    place.make(steps="echo begun >>log; exec sleep 600")
    (place.venv / ".installed").write_text("of an older file")
    with place.process(".venv", "requirements-dev.txt", "requirements.txt") as process:
        assert process.stdout.readline() == "installing what requirements-dev.txt asks for into .venv\n"
        while "begun" not in place.started():
            time.sleep(0.01)
        inject(f"{number.name} while installing")
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    if number == signal.SIGINT:
        assert errors == "install.py: stopped by Ctrl-C; run the same command again: it goes on\n"
    assert not (place.venv / ".installed-dev").exists()
    place.make()
    assert run(".venv", "requirements-dev.txt", "requirements.txt")[0] == 0
    assert place.started() == [CUDA_PIP[0].replace(".txt", "-dev.txt"), *CUDA_PIP]


def test_of_two_at_the_same_time_one_installs_and_the_other_waits(place):
    place.make(steps="sleep 0.5")
    processes = [place.process(".venv", "requirements-dev.txt") for _ in range(2)]
    outputs = sorted(process.communicate(timeout=20)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == [
        "installing what requirements-dev.txt asks for into .venv\n",
        "waiting: another process is installing into .venv\n",
    ]
    assert len(place.started()) == 1


def test_a_pip_that_outlives_the_killed_script_is_waited_for(place, run, inject):
    place.make(steps="echo begun >>log; sleep 0.7; echo ended >>log")
    with place.process(".venv", "requirements-dev.txt") as process:
        process.stdout.readline()
        while "begun" not in place.started():
            time.sleep(0.01)
        inject("SIGKILL while installing")
        process.kill()
        assert "waiting: another process is installing into .venv" in run(".venv", "requirements-dev.txt")[1]
    assert [line for line in place.started() if line in ("begun", "ended")] == ["ended", "begun", "ended"]


def test_what_has_not_changed_starts_no_pip_and_python_once(place, run):
    place.make()
    both = (".venv", "requirements.txt", "requirements-dev.txt")
    assert run(*both)[0] == 0
    assert len(place.started()) == 2
    assert (place.venv / ".installed").read_text() != (place.venv / ".installed-dev").read_text()
    os.utime("requirements.txt", (2e9, 2e9))
    assert run(*both) == (0, "", "")
    assert [line.split()[:2] for line in place.started(looks=True)] == [["-I", "-c"]]


def test_what_has_changed_is_installed_again_and_nothing_else(place, run):
    place.make()
    both = (".venv", "requirements.txt", "requirements-dev.txt")
    assert run(*both)[0] == 0
    place.started()
    Path("requirements-dev.txt").write_text("ruff>=1\n")
    assert run(*both)[0] == 0
    assert place.started() == [CUDA_PIP[0].replace(".txt", "-dev.txt")]
    place.make(minor="3.12")
    assert run(*both)[0] == 0
    assert len(place.started()) == 2


def test_an_upgrade_installs_what_is_there_and_one_that_fails_leaves_no_stamp(place, run, monkeypatch, inject):
    (place.make() / "lib/python3.11/site-packages/torch-2.15.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(install, "cpu_index_answers", lambda: True)
    assert run()[0] == 0
    place.started()
    assert run(".venv", "requirements.txt", "--upgrade")[0] == 0
    assert place.started() == [line.replace("--quiet", "--quiet --upgrade") for line in CPU_PIP]
    assert run()[0] == 0
    assert place.started() == []
    place.make(steps="exit 1")
    inject("failing pip")
    assert_one_line(run(".venv", "requirements.txt", "--upgrade"), ": status 1; mend that")
    assert not (place.venv / ".installed").exists()


def test_on_a_terminal_pip_shows_its_progress(place, run, monkeypatch):
    place.make()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run()[0] == 0
    assert place.started() == [line.replace(" --quiet", "") for line in CUDA_PIP]


@pytest.mark.parametrize("arguments", [(), (".venv",), (".venv", "absent.txt"), (".venv", "requirements.txt", "--new")])
def test_wrong_usage_is_one_line_and_status_2(place, run, inject, arguments):
    inject("wrong usage")
    done = run(*(arguments or ("--upgrade",)))
    assert_one_line(done, "(see --help)", status=2)
    assert not place.venv.exists()


def test_a_real_environment_is_made_in_the_place_of_a_broken_one(tmp_path, inject):
    folder, target = tmp_path / "a folder", tmp_path / "another disk"
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny.py", "answer = 42\n")
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "")
    inject("precondition of the install")
    folder.mkdir()
    dangle(Place(folder).make(target) / "bin" / "python")
    (folder / "my venv").symlink_to(target)
    (folder / "tiny.txt").write_text(f"tiny @ {wheel.as_uri()}\n")

    def run():
        command = [*WITHOUT_UV, "my venv", "tiny.txt"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert run().startswith(f"making my venv at {target}, where it links to: its Python does not start\ninstalling")
    assert run() == ""
    assert (folder / "my venv").readlink() == target
    question = [folder / "my venv" / "bin" / "python", "-c", "import tiny; print(tiny.answer)"]
    assert subprocess.check_output(question, text=True) == "42\n"
