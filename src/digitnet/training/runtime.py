"""PyTorch's settings for the whole process: memory and determinism; and whether devices compute in bfloat16."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 2**30  # bytes
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"

_reuses_memory = False  # it cannot be undone


def has_bfloat16(kind: str) -> bool:
    """Whether devices of that type ("cuda", "mps", "cpu") compute in bfloat16 natively."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))  # torch.autocast is disabled on older versions
    return any("bf16" in name and present for name, present in torch.cpu.get_capabilities().items())


def reuse_memory() -> None:
    """From now on in this process, malloc keeps freed memory for the next step, up to 1 GiB; only with glibc.

    By default glibc returns large blocks to the system when they are freed (mmap's threshold grows to 32 MiB at most),
    and the system zeroes each page again at the next use: for large activations, in every step. Results do not change.
    """
    global _reuses_memory
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        # Some versions refuse a threshold of more than 32 MiB.
        kept = mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, 2**25)
        _reuses_memory = bool(mallopt(M_TRIM_THRESHOLD, KEPT) and kept)


def reuses_memory() -> bool:
    """Whether `reuse_memory` was called in this process, and succeeded."""
    return _reuses_memory


@contextlib.contextmanager
def restored_settings() -> Iterator[None]:
    """After this block PyTorch's settings and generators are as before: a run in a notebook changes nothing there."""
    threads, environment = torch.get_num_threads(), os.environ.get(CUBLAS)
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn, memory, onednn = torch.backends.cudnn, torch.utils.deterministic, torch.backends.mkldnn.enabled
    before = cudnn.allow_tf32, cudnn.benchmark, memory.fill_uninitialized_memory  # type: ignore[attr-defined]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
        torch.backends.mkldnn.enabled = onednn
        cudnn.allow_tf32, cudnn.benchmark, memory.fill_uninitialized_memory = before  # type: ignore[attr-defined]
        if environment is None:
            os.environ.pop(CUBLAS, None)


def choose_convolutions(device: torch.device, batch_size: int) -> None:
    """On a CPU, train single images with PyTorch's own convolutions, and larger batches with those of oneDNN.

    What oneDNN prepares in each call takes longer than a small convolution of one image.
    """
    if device.type == "cpu" and batch_size == 1:
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]


def make_deterministic(device: torch.device) -> None:
    """Make results reproducible for the same seed, device and threads. CPU kernels are deterministic by default."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # PyTorch's default is True; with precision=fp32, compute in fp32
        os.environ.setdefault(CUBLAS, ":4096:8")  # read when cuBLAS starts
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        # It costs time and does not change results.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
