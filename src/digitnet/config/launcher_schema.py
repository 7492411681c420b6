"""The types, ranges and choices of hydra/launcher, as `schema` has those of the run."""

from typing import Annotated, Literal

from pydantic import Field

from digitnet.config.fields import Count, Group, Positive, Threads

Word = Annotated[str, Field(pattern=r"^[\w.,:@%=+&|*-]+$")]  # it is written into a script that Slurm runs


class LocalLauncherConfig(Group):
    name: Literal["local"]
    jobs: Count | None
    threads: Threads | None
    gpus: Annotated[float, Field(gt=0, le=64)]


class RayLauncherConfig(Group):
    name: Literal["ray"]
    address: str
    jobs: Count | None
    cpus: Annotated[float, Field(gt=0, le=1024)]
    gpus: Annotated[float, Field(ge=0, le=64)]


class SlurmLauncherConfig(Group):
    name: Literal["slurm"]
    jobs: Count | None
    minutes: Count
    requeues: Annotated[int, Field(ge=0, le=10_000)]
    grace_seconds: Count
    cpus: Threads
    gpus: Annotated[int, Field(ge=0, le=64)]
    memory_gb: Positive | None
    partition: Word | None
    account: Word | None
    qos: Word | None
    constraint: Word | None


LauncherConfig = Annotated[LocalLauncherConfig | RayLauncherConfig | SlurmLauncherConfig, Field(discriminator="name")]
