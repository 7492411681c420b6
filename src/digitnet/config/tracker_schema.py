"""The types of the group `tracker`, of which several options can be chosen at once."""

from typing import Annotated, Literal

from pydantic import Field

from digitnet.config.fields import Count, Group

Name = Annotated[str, Field(min_length=1)]


class TensorboardConfig(Group):
    folder: Name | None


class MlflowConfig(Group):
    uri: str | None
    experiment: Name


class WandbConfig(Group):
    project: Name
    entity: str | None
    mode: Literal["online", "offline"] | None


class TrackioConfig(Group):
    project: Name
    space: str | None


class TrackerConfig(Group):
    """Several options may be chosen; the parts of the others are None, which is not a value of a run's own."""

    every_steps: Count | None
    tensorboard: TensorboardConfig | None = None
    mlflow: MlflowConfig | None = None
    wandb: WandbConfig | None = None
    trackio: TrackioConfig | None = None

    @property
    def chosen(self) -> list[str]:
        """The names of the trackers."""
        return [name for name in type(self).model_fields if isinstance(getattr(self, name), Group)]
