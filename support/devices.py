"""The device and its arithmetic: cpu, cuda or mps; float32 or bfloat16."""

import re
from pathlib import Path

from support import UserError, processor

import torch


def resolve_device(name: str) -> torch.device:
    """The device of that name; auto takes cuda, then mps, then cpu. Raises UserError for one that is not available."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_available in available.items() if is_available)
    if name not in available:
        raise UserError(f"unknown device {name!r}; there are: auto, {', '.join(available)}")
    if not available[name]:
        raise UserError(f"device {name!r} is not available on this machine; use --device auto")
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """float32 or bfloat16 for a recipe's precision. auto takes bfloat16 only where the processor computes in it:
    without such instructions torch emulates them, hundreds of times slower than float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    is_native = {"avx512_bf16", "amx_bf16", "bf16"} & set(cpuinfo("flags|Features").split())
    return "bfloat16" if is_native and device.type == "cpu" else "float32"


def cpuinfo(key: str) -> str:
    """The first value of a key (a pattern) in Linux's /proc/cpuinfo, or an empty string."""
    path = Path("/proc/cpuinfo")
    match = re.search(rf"^(?:{key})\s*:\s*(.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return match[1] if match else ""


def prepare(threads: int = 0) -> None:
    """Settings of torch that all computing here needs, whatever the device; so many threads, or one a core."""
    torch.set_num_threads(processor.threads(wanted=threads))
    torch.set_flush_denormal(True)  # denormal numbers make convolutions up to 40 times slower
    torch.backends.cudnn.deterministic = True
