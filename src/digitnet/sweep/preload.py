"""Imported in the process that local jobs are forked from, to load torch and the sweep's data once for all jobs."""

import os
import warnings
from pathlib import Path

SWEEP_VARIABLE = "DIGITNET_SWEEP"  # the environment variable with the sweep's folder


def _preload(folder: Path) -> None:
    import torch
    import torch._dynamo  # torch.optim imports it on first use, which would take two seconds of each job

    from digitnet.config.rules import parse_config
    from digitnet.experiment import build, run
    from digitnet.sweep.manifest import read_manifest

    del run  # imported for its imports
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork copies no OpenMP threads: a forked process would wait for them for ever
    for job in read_manifest(folder).jobs.values():
        config = parse_config(job.config)
        try:
            build.preload_data(config.data)
        except Exception:  # the job itself will report it
            continue
    torch.set_num_threads(threads)


if folder := os.environ.get(SWEEP_VARIABLE):
    try:
        # The threads of numpy's OpenBLAS are safe to fork: OpenBLAS handles forks itself.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        _preload(Path(folder))
    except Exception:  # without it, jobs start more slowly
        pass
