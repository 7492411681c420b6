"""Estimates how long a run takes, from some of its steps."""

import time

import torch

from digitnet.config import schema
from digitnet.config.rules import run_length
from digitnet.experiment.components import Components, build_components
from digitnet.training.loop import fit
from digitnet.training.runtime import restored_settings

MEASURED_SECONDS = 1.0  # of training
EVALUATED = 1000  # images


def estimated_seconds(config: schema.Config) -> float:
    """Train for MEASURED_SECONDS and evaluate some images, in memory: the seconds that all epochs take at that speed.

    Nothing is downloaded or written. Raises DataError and ConfigError as the run would.
    """
    with restored_settings():
        components = build_components(config, download=False)
        _train(components, 0.0)  # the first chunk of batches takes longer
        before, started = components.state.steps, time.perf_counter()
        _train(components, MEASURED_SECONDS)
        step_seconds = (time.perf_counter() - started) / (components.state.steps - before)
        validation = components.data.validation
        images = validation[torch.arange(min(EVALUATED, len(validation)))]
        started = time.perf_counter()
        components.evaluate(components.state.model, images.images, images.labels)
        evaluation = (time.perf_counter() - started) * len(validation) / len(images)
        return run_length(config) * (components.steps_per_epoch * step_seconds + evaluation)


def _train(components: Components, seconds: float) -> None:
    """Train for so long, one chunk of batches at least, at a learning rate of 0: nothing can diverge."""
    state, data = components.state, components.data
    until = time.perf_counter() + seconds
    records = fit(
        state,
        data.train,
        data.validation[torch.arange(1)],
        epochs=state.epoch + 1_000_000,
        batch_size=components.config.trainer.batch_size,
        schedule=lambda _: 0.0,
        augment=components.augment,
        step=components.step,
        pause=lambda: time.perf_counter() > until,
    )
    for _ in records:
        pass
