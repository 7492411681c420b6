"""What the process that jobs are forked from imports: torch, and the data of the sweep, once for all jobs."""

import os
import warnings
from pathlib import Path

VARIABLE = "DIGITNET_SWEEP"  # in the environment: the sweep's folder


def _warm(folder: Path) -> None:
    import torch
    import torch._dynamo  # torch.optim imports it on first use, which would take two seconds of each job

    from digitnet.config.schema import Config
    from digitnet.experiment import build, run
    from digitnet.sweep import manifest

    del run  # imported for its imports
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # OpenMP's threads would not be there in a forked process, which waits for them for ever
    for job in manifest.read_manifest(folder).jobs.values():
        config = Config.model_validate(job.config)
        try:
            build.share(config.data)
        except Exception:  # the job itself will say it
            continue
    torch.set_num_threads(threads)


if folder := os.environ.get(VARIABLE):
    try:
        # Those that numpy's OpenBLAS has started know of forks.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        _warm(Path(folder))
    except Exception:  # without it, jobs begin more slowly
        pass
