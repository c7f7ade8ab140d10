"""The virtual environment, which make prepares by this before anything else, with the system's Python.

    python3 support/install.py VENV requirements.txt [more-requirements.txt ...] [--upgrade]

The exit status is 0 when the environment in the folder VENV is ready, at once where nothing has changed. What would
stop it is tested before anything is fetched, and said in one line, with status 1. An install that was stopped goes on
at the next start. A folder that is no virtual environment is never touched. Only the standard library is imported, and
any Python from 3.6 on runs this far enough to be told that it is too old.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

MINIMUM = (3, 11)
UV = shutil.which("uv")
TORCH_INDEX = "https://download.pytorch.org/whl/"  # for Linux the usual package index has builds with CUDA alone
PROBE_SECONDS = 3.0
# Torch and the rest, and the GB that must be free. With CUDA 3 are fetched, and 5.6 stay on disk.
CPU = ("torch for the CPU (about 0.2 GB to fetch)", 1.5)
CUDA = ("torch with CUDA (about 3 GB to fetch, 6 GB on disk)", 7.0)
# Whoever sets one of these has an index of their own, which is used.
UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
PIP_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
SETTINGS, UNFINISHED, LOCK = "pyvenv.cfg", ".unfinished", ".install.lock"
ELSEWHERE = "mend that, or make the environment elsewhere: make VENV=folder"
LOOK = (  # a third faster than importlib.util
    "import sys, importlib.machinery as m; "
    "print('%d.%d' % sys.version_info[:2], m.PathFinder.find_spec('pip') is not None)"
)


class InstallError(Exception):
    """What a person can mend, as one line: what, where, and the remedy."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def check_python() -> None:
    """Stop where this Python is too old."""
    if sys.version_info[:2] < MINIMUM:
        found, needed = (".".join(map(str, version)) for version in (sys.version_info[:3], MINIMUM))
        raise InstallError(
            f"{sys.executable} is Python {found}, this project needs Python {needed} or later: install it, "
            f"or name another: make SYSTEM_PYTHON=python{needed}"
        )


def check_folder(folder: Path, venv: str) -> None:
    """Stop where a virtual environment must not or cannot be made in a folder."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {str(folder)} if folder.exists() else set()
    if found - {LOCK} and not found & {SETTINGS, UNFINISHED}:
        raise InstallError(
            f"{venv} is there, but no virtual environment (it has no {SETTINGS}), and is left as it is; {ELSEWHERE}"
        )
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing and not UV:
        package = "python{}.{}-venv".format(*sys.version_info)
        raise InstallError(
            f"{sys.executable} lacks the module {missing[0]}, without which {venv} cannot be made: install it (Debian "
            f"and Ubuntu: sudo apt install {package}), or name another Python: make SYSTEM_PYTHON=/path/to/python3"
        )


def check_space(folder: Path, venv: str, needed: float) -> None:
    """Stop where the disk is too full for torch."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise InstallError(
            f"{free:.1f} GB are free on the disk of {venv}, installing torch needs {needed} GB: free some, or make the "
            f"environment on another: make VENV=/another/disk/venv"
        )


def python_of(folder: Path) -> str:
    """The Python of a virtual environment."""
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def look(folder: Path) -> "tuple[str, str]":
    """(minor version of Python, what is wrong) of a virtual environment. Nothing is wrong where that is empty."""
    if (folder / UNFINISHED).exists():
        return "", "it is half made"
    try:
        settings = (folder / SETTINGS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", "it is missing"
    try:  # -I: whatever PYTHONPATH and the like say
        command = [python_of(folder), "-I", "-c", LOOK]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        minor, has_pip = done.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return "", "its Python does not start"
    made_with = re.findall(r"^version(?:_info)? *= *(\d+\.\d+)", settings, re.MULTILINE)
    if minor not in made_with:
        return minor, f"it was made with Python {' '.join(made_with) or 'unknown'}, and its Python is now {minor}"
    if tuple(map(int, minor.split("."))) < MINIMUM:
        return minor, f"its Python is {minor}"
    return minor, "" if has_pip == "True" else "it has no pip"


@contextlib.contextmanager
def locked(folder: Path, venv: str) -> "Iterator[None]":
    """Hold a folder against other processes that install into it, until this one and the pip it started have ended,
    however they end. On Windows, and on file systems without locks, nothing is held."""
    with open(folder / LOCK, "a") as file:
        os.set_inheritable(file.fileno(), True)
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting: another process is installing into {venv}", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(command: "list[str]", **settings: str) -> str:
    """Run a command. Returns why it failed, in its own words; nothing when it did not."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **settings}
    errors = None if command[0] == UV and sys.stdout.isatty() else subprocess.PIPE  # where uv shows its progress
    with subprocess.Popen(  # close_fds: it holds the lock too
        command, env=environment, stdin=subprocess.DEVNULL, stderr=errors, close_fds=False, text=True, errors="replace"
    ) as process:
        try:
            lines = list(process.stderr or ())
            process.wait()
        except BaseException as stop:
            if not isinstance(stop, KeyboardInterrupt):  # which went to it as well
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            raise
    if process.returncode == 0:
        return ""
    told = [line for line in lines if line.startswith("ERROR: ") and "ResolutionImpossible" not in line]
    reason = " ".join((told[-1] if told else "".join(lines)).split())[:300] or f"status {process.returncode}"
    return f"{reason} (no connection)" if any("connection broken" in line for line in lines) else reason


def make_venv(folder: Path, venv: str) -> str:
    """Make a virtual environment in a folder, in the place of what is left of another. Returns its Python's version."""
    (folder / UNFINISHED).touch()  # from here on it is ours and half made, whatever stops this
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (UNFINISHED, LOCK):
            path.unlink()
    python = getattr(sys, "_base_executable", sys.executable)  # this one may have been in the folder
    if UV:
        chosen = [] if os.environ.get("UV_PYTHON") else ["--python", python]
        failure = run([UV, "venv", "--quiet", "--seed", "--allow-existing", *chosen, str(folder)])
    else:
        failure = run([python, "-I", "-m", "venv", str(folder)])
    if not failure:
        (folder / UNFINISHED).unlink()
    minor, fault = look(folder)
    if failure or fault:
        raise InstallError(f"{venv} could not be made with {python}: {failure or fault}; {ELSEWHERE}")
    return minor


def has_driver() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None


def cpu_index_answers() -> bool:
    """Whether PyTorch's index of CPU builds can be reached; known within PROBE_SECONDS, whatever the network does."""
    import urllib.request

    answers = []

    def ask() -> None:
        with contextlib.suppress(Exception):
            urllib.request.urlopen(f"{TORCH_INDEX}cpu/", timeout=PROBE_SECONDS).close()
            answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)  # a name server that hangs knows no timeout
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answers)


def choose_build() -> "tuple[tuple[str, float], str, str]":
    """(build of torch, folder of PyTorch's own index that has it, why) for this machine; no folder: the usual index."""
    backend = os.environ.get("UV_TORCH_BACKEND", "auto")
    if backend != "auto":
        return CPU if backend == "cpu" else CUDA, backend, ": UV_TORCH_BACKEND is set"
    linux = sys.platform.startswith("linux")
    for name in UV_INDEXES if UV else PIP_INDEXES:
        if os.environ.get(name):
            return CPU if "cpu" in os.environ[name] or not linux else CUDA, "", f": {name} is set"
    if not linux or has_driver():
        return CUDA if linux else CPU, "auto" if linux and UV else "", ""
    if cpu_index_answers():
        return CPU, "auto" if UV else "cpu", ""
    return CUDA, "", ": no NVIDIA driver here, but PyTorch's CPU index did not answer"


def install(path: Path, folder: Path, venv: str, upgrade: bool) -> None:
    """Install what a requirements file asks for; torch first, where it comes from PyTorch's own index."""
    python = python_of(folder)
    command = [UV, "pip", "install", "--python", python] if UV else [python, "-I", "-m", "pip", "install"]
    command += [*([] if sys.stdout.isatty() else ["--quiet"]), *(["--upgrade"] if upgrade else [])]
    torch = re.findall(r"^torch(?:vision)?(?![\w.-])[^#\n]*", path.read_text(errors="replace"), re.MULTILINE)
    sites = [folder / "Lib", *folder.glob("lib/*")]
    installed = [found.name for site in sites for found in site.glob("site-packages/torch-*.dist-info")]
    what, failure, settings = f"what {path} asks for into {venv}", "", {}
    build, backend, why = CPU, "", ""
    if torch and (upgrade or not installed or "+cpu" in installed[0]):  # a CPU build stays one
        build, backend, why = choose_build()
        if upgrade or not installed:
            what = f"{build[0]} and the rest of {path} into {venv}, once"
    print(f"installing {what}{why}", flush=True)
    if torch and not installed:
        check_space(folder, venv, build[1])
    if backend:
        source, settings = ([], {"UV_TORCH_BACKEND": backend}) if UV else (["--index-url", TORCH_INDEX + backend], {})
        failure = run([*command, *source, *map(str.strip, torch)], **settings)
        if failure and not os.environ.get("UV_TORCH_BACKEND"):
            print(f"installing {CUDA[0]} from the usual index: PyTorch's own failed: {failure}", flush=True)
            check_space(folder, venv, CUDA[1])
            failure, settings = "", {}
    failure = failure or run([*command, "-r", str(path)], **settings)
    if failure:
        raise InstallError(
            f"{'uv' if UV else 'pip'} could not install {path} into {venv}: {failure}; mend that and run the same "
            f"command again: it goes on"
        )


def prepare(venv: str, requirements: "list[Path]", upgrade: bool) -> None:
    """Make the virtual environment what the requirements files ask for. For each of them a stamp in the environment
    says for which content and which Python it was installed."""
    folder = Path(os.path.realpath(os.path.expanduser(venv)))  # the module venv refuses links
    sums = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in requirements}
    stamps = {path: folder / f".installed{path.stem.removeprefix('requirements')}" for path in requirements}

    def is_current(path: Path) -> bool:
        return stamps[path].is_file() and stamps[path].read_text() == f"python {minor}\nsha256 {sums[path]}\n"

    minor, fault = look(folder)
    if not fault and not upgrade and all(map(is_current, requirements)):
        return
    if fault:
        check_folder(folder, venv)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, venv):
        minor, fault = look(folder)  # again: another process may have been at work
        if fault:
            link = f" at {folder}, where it links to" if os.path.islink(os.path.expanduser(venv)) else ""
            if link or len(os.listdir(folder)) > 1:  # more than the lock
                print(f"making {venv}{link}: {fault}", flush=True)
            minor = make_venv(folder, venv)
        for path in requirements:
            if upgrade or not is_current(path):
                with contextlib.suppress(FileNotFoundError):
                    stamps[path].unlink()
                install(path, folder, venv, upgrade)
                partial = folder / ".installed.partial"
                partial.write_text(f"python {minor}\nsha256 {sums[path]}\n")
                os.replace(partial, stamps[path])


def main(arguments: "list[str] | None" = None) -> int:
    name = Path(__file__).name
    try:
        check_python()
        parser = Parser(prog=name, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("venv", metavar="VENV", help="the folder of the virtual environment")
        parser.add_argument("requirements", metavar="requirements.txt", nargs="+", type=Path, help="what to install")
        parser.add_argument("--upgrade", action="store_true", help="install the newest versions")
        options = parser.parse_args(arguments)
        for path in options.requirements:
            if not path.is_file():
                parser.error(f"{path} is no file")
        prepare(options.venv, options.requirements, options.upgrade)
        return 0
    except (InstallError, OSError) as error:
        remedy = f"; {ELSEWHERE}" if isinstance(error, OSError) else ""
        print(f"{name}: {error}{remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        after = "\n" if sys.stderr.isatty() else ""  # the ^C
        print(f"{after}{name}: stopped by Ctrl-C; run the same command again: it goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
