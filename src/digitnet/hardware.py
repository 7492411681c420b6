"""The cores and GPUs of this machine, counted without torch."""

import os
import shutil
import subprocess


def available_cores() -> int:
    """The number of CPU cores that this process may use; a batch system or a container may limit it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_count() -> int:
    """The number of NVIDIA GPUs that this process may use, by CUDA_VISIBLE_DEVICES or, if unset, by nvidia-smi."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return len([word for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if word.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return len(done.stdout.splitlines()) if done.returncode == 0 else 0
