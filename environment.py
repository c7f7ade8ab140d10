"""The machine: is it ready, and what is it. For results.json, and for people.

    python environment.py [--dataset mnist] [--data data]

prints what was checked; the exit status is 1, with the remedy, when something is missing.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import cli, devices, processes
from support.rule import Rule, format_rules

import torch
from packaging.requirements import Requirement

import data

ROOT = cli.ROOT
PYTHON_FLOOR = (3, 11)
DISK_FLOOR = 1.0  # GB: the data and a few runs


def git(*arguments: str) -> subprocess.CompletedProcess:
    """What git says in the project's folder. Raises OSError where there is no git."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook's, say
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, env=plain)


def commit() -> str:
    """The git commit of the code, with -dirty if the code has changed since, or "unknown" outside a checkout of its
    own. Results are not code: a record that was written does not make the next one dirty."""
    try:
        top, head = git("rev-parse", "--show-toplevel", "HEAD").stdout.splitlines()
        if Path(top).resolve() != ROOT:  # a repository around the project, whose commits are not of this code
            return "unknown"
        changed = git("diff", "--quiet", "HEAD", "--", ".", ":!results").returncode
    except (OSError, ValueError):  # no git; no commit
        return "unknown"
    return f"{head}-dirty" if changed else head


def is_foreign(commit: str) -> bool:
    """Whether git's history here is whole and lacks a commit."""
    try:
        top, is_shallow = git("rev-parse", "--show-toplevel", "--is-shallow-repository").stdout.splitlines()
    except (OSError, ValueError):
        return False
    is_whole = Path(top).resolve() == ROOT and is_shallow == "false"
    return is_whole and git("cat-file", "-e", f"{commit}^{{commit}}").returncode != 0


def origin(commit: str) -> dict[str, str]:
    """The `date` and the `author` of a commit, as git knows them; empty where it does not."""
    try:
        shown = git("show", "--no-patch", "--format=%as%n%aN", commit).stdout.splitlines()
    except OSError:  # no git
        return {}
    return dict(zip(("date", "author"), shown, strict=False))


def describe(device: torch.device, precision: str) -> dict[str, Any]:
    """What a result depends on besides recipe and seed, for results.json."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # which is more than a text
        "numpy": importlib.metadata.version("numpy"),
        "platform": platform.platform(),
        "cpu": devices.cpuinfo("model name") or platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),  # the instruction set that torch computes with
        "cores": devices.cores(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "processes": processes.world_size(),
        "precision": precision,
        "commit": commit(),
    }


def check(name: str, there: str, remedy: str) -> Rule:
    """The rule for one thing: what there is of it, and the remedy where that is not good enough."""
    return Rule(name, f"{there}  → {remedy}" if remedy else there, not remedy)


def requirements() -> list[Requirement]:
    """What requirements.txt asks for."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def check_package(package: Requirement) -> Rule:
    """Whether a package is installed, in a version that is asked for."""
    remedy = f"needs {package}: make env-update"
    try:
        version = importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        return check(package.name, "missing", remedy)
    is_wanted = package.specifier.contains(version, prereleases=True)
    return check(package.name, f"{version} ({package.specifier})", remedy * (not is_wanted))


def checks(dataset: str, data_dir: Path | str) -> list[Rule]:
    """Every check: Python, packages, device, threads, disk and data."""
    device, free = devices.resolve_device("auto").type, shutil.disk_usage(ROOT).free / 1e9
    states = data.state(data.get_dataset(dataset), data_dir)
    unverified = ", ".join(f"{name} {state}" for name, state in states.items() if state != "verified")
    is_old = sys.version_info < PYTHON_FLOOR
    return [
        check("python", platform.python_version(), f"needs Python >= {PYTHON_FLOOR[0]}.{PYTHON_FLOOR[1]}" * is_old),
        *map(check_package, requirements()),
        Rule("device", f"{device}, {torch.backends.cpu.get_cpu_capability()}", True),
        Rule("threads", f"{devices.threads()} of {devices.cores()} cores", True),
        check("disk", f"{free:.1f} GB free", f"needs {DISK_FLOOR} GB: free some space" * (free < DISK_FLOOR)),
        check(
            "data",
            unverified or f"{dataset}: {len(states)} files verified in {data_dir}",
            f"make data DATASET={dataset}" * bool(unverified),
        ),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--dataset", default="mnist", choices=data.DATASETS, help="(default: mnist)")
    parser.add_data()
    arguments = parser.parse_args(argv)
    checked = checks(arguments.dataset, arguments.data)
    print(format_rules(checked))
    return 0 if all(rule.passed for rule in checked) else 1


if __name__ == "__main__":
    cli.run(main)
