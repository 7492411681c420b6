"""Loads torch and the data of a sweep once, in the process that its jobs are forked from."""

import contextlib
from pathlib import Path


def preload(folder: Path) -> None:
    """Import what all jobs of the sweep in `folder` import, and load their data. Raises as `read_manifest`."""
    import torch
    import torch._dynamo  # torch.optim imports it on first use, which would take two seconds of each job

    from digitnet.config.rules import parse_config
    from digitnet.experiment import build, run
    from digitnet.sweep.manifest import read_manifest

    del run  # imported for its imports
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork copies no OpenMP threads: a forked process would wait for them for ever
    by_data = {repr(job.config.get("data")): job.config for job in read_manifest(folder).jobs.values()}
    for config in by_data.values():
        with contextlib.suppress(Exception):  # the job itself will report it
            build.preload_data(parse_config(config).data)
    torch.set_num_threads(threads)
