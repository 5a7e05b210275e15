"""Where to compute and in which precision."""

import platform
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from ..errors import UserError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CPU_FACTS = Path("/proc/cpuinfo")  # Linux alone tells the processor's name in a file


def choose_device(device: str = "auto") -> torch.device:
    """ "auto" -> the first of CUDA, Apple's MPS, CPU that is there. Raises UserError for a device that is not."""
    if device == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        device = next(name for name in there if there[name])
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).cpu()  # which the device "meta" cannot
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device {device!r} is not available here; use auto or cpu.") from error
    return chosen


def device_name(device: torch.device) -> str:
    """The hardware's own name where it tells, for the record of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{platform.processor() or platform.machine()} GPU"
    facts = CPU_FACTS.read_text(encoding="utf-8", errors="replace") if CPU_FACTS.exists() else ""
    names = [line.partition(":")[2].strip() for line in facts.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def best_precision(device: torch.device) -> str:
    """The fastest precision that trains well there: 16 bit only where the hardware multiplies in it."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = device.type == "cpu" and _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Mixed precision for the forward pass; a no-op for "float32"."""
    return torch.autocast(device.type, dtype=PRECISIONS[precision], enabled=precision != "float32")


def _cpu_has_bfloat16() -> bool:
    # torch has no public name for this; where the private one is gone, float32 is right, only slower
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())
