"""Files that count by their SHA-256 sums, and their sources: a mirror, a wheel of the package index, a Debian package.

Nothing that arrives is trusted or run before its sum has been compared.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from support import UserError

TIMEOUT = 15  # seconds without a byte
COMMAND_TIMEOUT = 300  # seconds in all
MAX_BYTES = 200 * 2**20  # of a file: more is no data set of ours

Source = Callable[[Path], Path]  # given an empty folder, returns the folder in which its files are then


def sha256(path: Path | str) -> str:
    """The SHA-256 sum of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def state(folder: Path, sums: dict[str, str]) -> dict[str, str]:
    """{file name: "verified", "missing" or "damaged"} of files in a folder, by their sums."""

    def look(path: Path, expected: str) -> str:
        if not path.exists():
            return "missing"
        return "verified" if path.is_file() and sha256(path) == expected else "damaged"

    return {name: look(folder / name, expected) for name, expected in sums.items()}


def fetch(
    folder: Path, sums: dict[str, str], sources: dict[str, Source], unpack: Callable[[Path], Iterator[bytes]]
) -> None:
    """Make sure that the files of `sums` are in a folder, which no other process may be fetching into.

    What is there and verified is not touched. A damaged file is kept under a name of its own, and fetched like a
    missing one: from the first source (by name) that has it. `unpack` gives all contents that the files in a folder
    amount to; one whose sum is right is moved into place whole. Raises UserError when files are missing in the end,
    saying what was tried."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".fetching-*"):  # by a process that was killed
            shutil.rmtree(left)
        for name, look in state(folder, sums).items():
            if look == "damaged":
                set_aside(folder / name)
    except OSError as error:
        raise UserError(f"{folder} could not be used ({error.strerror})") from error
    failures = []
    for label, source in sources.items():
        missing = missing_names(folder, sums)
        if not missing:
            return
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
                take(unpack(source(Path(temporary))), missing, folder, Path(temporary))
            left = missing_names(folder, sums)
            if len(left) == len(missing):
                raise ValueError(f"it has no official {', '.join(left.values())}")
        except Exception as error:  # whatever a broken source leads to: the next one is tried
            failures.append(f"{label} ({(str(error) or type(error).__name__).splitlines()[-1]})")
    missing = missing_names(folder, sums)
    if missing:
        raise UserError(
            f"{', '.join(missing.values())} could not be fetched; tried {'; '.join(failures)}. "
            f"Copy them into {folder} by hand, or try again later"
        )


def missing_names(folder: Path, sums: dict[str, str]) -> dict[str, str]:
    """{sum: name} of the files that are not in a folder."""
    return {expected: name for name, expected in sums.items() if not (folder / name).exists()}


def take(contents: Iterator[bytes], missing: dict[str, str], folder: Path, temporary: Path) -> None:
    """Move contents whose sums are those of missing files into their folder, until all are found."""
    left = dict(missing)
    for content in contents:
        name = left.pop(hashlib.sha256(content).hexdigest(), None)
        if name:
            (temporary / name).write_bytes(content)
            os.replace(temporary / name, folder / name)
        if not left:
            return


def set_aside(path: Path) -> None:
    """Rename a file that is not the official one; an earlier one keeps its name."""
    aside, count = path.with_name(f"{path.name}.damaged"), 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.{count}.damaged")
    os.replace(path, aside)
    print(f"{path} is not the official file (its SHA-256 is another): kept as {aside.name}", file=sys.stderr)


def from_mirror(url: str, names: Iterable[str], folder: Path) -> Path:
    """Fetch `url`/NAME.gz for every name into a folder. Raises OSError."""
    for name in names:
        with urllib.request.urlopen(f"{url}{name}.gz", timeout=TIMEOUT) as response:
            (folder / f"{name}.gz").write_bytes(response.read(MAX_BYTES))
    return folder


def from_debian_package(package: str, directory: str, names: Iterable[str], folder: Path) -> Path:
    """Put `directory`/NAME.gz of a Debian package into a folder: from the system where the package is installed, else
    fetched with apt-get, which needs no root. Raises OSError."""
    root = Path("/")
    if not (root / directory).is_dir():
        root = folder / package
        root.mkdir()
        run("apt-get", "download", package, cwd=root)
        (archive,) = root.glob("*.deb")
        run("dpkg-deb", "--extract", str(archive), str(root))
    for name in names:
        shutil.copy(root / directory / f"{name}.gz", folder)
    return folder


def wheel(requirement: str, expected_sha256: str, folder: Path) -> Path:
    """Download a wheel into a folder, uninstalled. Raises OSError, or ValueError where its sum is another."""
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement)
    for path in folder.glob("*.whl"):
        if sha256(path) != expected_sha256:
            raise ValueError(f"{path.name} is not the expected wheel")
    return folder


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command. Raises OSError with its own error line when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"{command[0]} failed with status {done.returncode}"]
        raise OSError(next((line for line in lines if line.startswith(("ERROR", "E:"))), lines[-1]))
