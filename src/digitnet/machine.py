"""This machine, and what is set once for all that PyTorch does in this process."""

import ctypes
import os

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 2**30  # bytes


def has_bfloat16(kind: str) -> bool:
    """Whether devices of that type ("cuda", "mps", "cpu") compute in bfloat16, rather than emulate it."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))  # torch.autocast turns itself off below
    return any("bf16" in name and present for name, present in torch.cpu.get_capabilities().items())


def reuse_memory() -> bool:
    """Have malloc keep what is freed for the next step, up to 1 GiB; returns False where it is not glibc's.

    By default glibc hands blocks of 32 MiB and more (of 128 KiB, at first) back to the system when they are freed, and
    the system clears each page anew when it is touched again, which for activations is in every step: a quarter of
    the time of the all-convolutional network with batches of 128. No figure changes, and neither does peak memory.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl; Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT) and mallopt(M_TRIM_THRESHOLD, KEPT))


def make_deterministic(device: torch.device) -> None:
    """Same seed, device and threads, same figures. CPU kernels are deterministic as they are."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # PyTorch's default; fp32 shall mean fp32
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        # It costs time and changes no figure.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
