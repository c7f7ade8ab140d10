"""The machine: is it ready, and what is it. For results.json, and for people.

python environment.py [--json]         a table of what was checked; exit status 1, with the remedy, when something is
wrong
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch

import cli
import data

ROOT = Path(__file__).resolve().parent
PYTHON_FLOOR = (3, 11)
DISK_FLOOR = 1.0  # GB: the data and a few runs


def pick_device(name):
    """The torch.device of that name; auto takes cuda, then mps, then cpu. Raises ValueError for one that is not
    there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, found in there.items() if found)
    if name not in there:
        raise ValueError(f"unknown device {name!r}; there are: auto, {', '.join(there)}")
    if not there[name]:
        raise ValueError(f"device {name!r} is not available on this machine; use --device auto")
    return torch.device(name)


def pick_precision(name, device):
    """float32 or bfloat16 for a recipe's precision. auto takes bfloat16 only where the processor computes in it:
    without such instructions torch emulates them, hundreds of times slower than float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = device.type == "cpu" and processor_has("avx512_bf16", "amx_bf16", "bf16")
    return "bfloat16" if native else "float32"


def processor_has(*flags):
    """Whether /proc/cpuinfo names one of the instruction sets; False where there is no such file."""
    return bool(set(flags) & set(cpuinfo("flags|Features").split()))


def cpuinfo(key):
    """The first value of a key (a pattern) in Linux's /proc/cpuinfo, or an empty string."""
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^(?:{key})\s*:\s*(.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else ""


def commit():
    """The git commit of the code, with -dirty when it was changed since; unknown outside a checkout. Results are not
    code: a record that was written does not make the next one dirty."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", ":!results"]).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changed else head


def describe(device, precision):
    """What a result depends on besides the recipe and the seed, for results.json."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "platform": platform.platform(),
        "cpu": cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "commit": commit(),
    }


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, and the remedy where it is not good enough."""

    name: str
    found: str
    remedy: str = ""


def requirements():
    """{package: floor} from requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(re.match(r"([\w-]+)>=([\d.]+)", line).groups() for line in lines if line and not line.startswith("#"))


def package_check(package, floor):
    """Whether a package is there and at least at its floor."""

    def numbers(version):
        return [int(part) for part in re.match(r"[\d.]*\d", version)[0].split(".")]

    remedy = f"needs {package} >= {floor}: make env-update"
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Check(package, "missing", remedy)
    return Check(package, f"{version} (>= {floor})", "" if numbers(version) >= numbers(floor) else remedy)


def checks(folder):
    """Every check, as a list of Check: Python, packages, device, threads, disk and data."""
    device = pick_device("auto")
    free = shutil.disk_usage(ROOT).free / 1e9
    states = data.state(folder)
    unverified = [name for name, found in states.items() if found != "verified"]
    return [
        Check(
            "python",
            platform.python_version(),
            "" if sys.version_info >= PYTHON_FLOOR else f"needs Python >= {'.'.join(map(str, PYTHON_FLOOR))}",
        ),
        *(package_check(package, floor) for package, floor in requirements().items()),
        Check("device", f"{device.type}, training in {pick_precision('auto', device)}"),
        Check("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores"),
        Check("disk", f"{free:.1f} GB free", "" if free >= DISK_FLOOR else f"needs {DISK_FLOOR} GB: free some space"),
        Check(
            "data",
            ", ".join(f"{name} {states[name]}" for name in unverified) or f"4 files verified in {folder}",
            "make data" if unverified else "",
        ),
    ]


def main(argv=None):
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_data()
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    found = checks(arguments.data)
    if arguments.json:
        print(
            json.dumps(
                {check.name: {"found": check.found, "ok": not check.remedy, "remedy": check.remedy} for check in found},
                indent=2,
            )
        )
    else:
        for check in found:
            print(
                f"{'FAIL' if check.remedy else 'ok  '}  {check.name:12} {check.found}"
                + (f"  → {check.remedy}" if check.remedy else "")
            )
    return 1 if any(check.remedy for check in found) else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
