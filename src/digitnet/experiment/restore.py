"""Restores a run from its last checkpoint and trains it to its end."""

from pathlib import Path

import torch
from torch import nn

from digitnet.config import schema
from digitnet.config.rules import parse_config, run_length, unchangeable_values
from digitnet.errors import CheckpointError, ConfigError
from digitnet.experiment import build, messages
from digitnet.experiment.components import Components, build_components, run_device
from digitnet.experiment.run import (
    Result,
    initialized,
    load_initial_weights,
    observed,
    train_and_evaluate,
)
from digitnet.lock import this_process
from digitnet.metrics import Evaluation
from digitnet.report.trackers.process import check_installed
from digitnet.runs.environment import versions
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import RunSummary
from digitnet.runs.writer import RunWriter
from digitnet.signals import handling_signals
from digitnet.text import one_line
from digitnet.training.checkpoint import load_weights, restore_checkpoint
from digitnet.training.distributed import current_group
from digitnet.training.runtime import restored_settings
from digitnet.training.weight_average import LastEpochsAverage


def resume_training(
    config: schema.Config, folder: RunFolder, summary: RunSummary, command: str, download: bool, quiet: bool
) -> Result:
    """Resume in `folder`, which is locked, from its last checkpoint, or from the start if none was written.

    Until training starts, the only change in the folder is `process` in summary.json.
    """
    group = current_group()
    writer = RunWriter(folder, summary, config, writes=group.rank == 0)
    device = run_device(config)
    check_installed(build.trackers(config.tracker))
    with handling_signals() as stop, restored_settings(), initialized(group, device, stop, writer):
        summary.process = this_process()
        writer.write_summary()
        components = build_components(config, download, group)
        warnings = _restore(components, writer)
        if group.rank == 0:
            folder.remove_unfinished()
        summary.error, summary.test = None, None
        summary.resumed.append(command)
        with observed(writer, stop) as observers:
            return train_and_evaluate(components, writer, observers, stop, warnings, quiet)


def load_finished(folder: RunFolder) -> Result:
    """The result of a finished run: what `run_experiment` returned. Raises ConfigError, CheckpointError.

    With model=custom, the network is imported, if the folder is trusted.
    """
    summary = folder.read_summary_of_run()
    try:
        config, test = parse_config(summary.config), summary.test or {}
        classes = len(summary.dataset["classes"])
        evaluation = Evaluation(test["loss"], test["n"] - test["errors"], test["n"])
        records = folder.read_records()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.path}: its result cannot be read ({one_line(error)})") from error
    model, _ = load_model(folder, config, classes)
    return Result(records, evaluation, model, folder.path)


def load_model(
    folder: RunFolder, config: schema.Config, classes: int, checkpoint: str = "last"
) -> tuple[nn.Module, int]:
    """(the run's network with the weights of a checkpoint, `last`, `best` or `epoch_N`, on the CPU; its epoch).

    Raises ConfigError if the folder is not trusted and the network is one to import; CheckpointError.
    """
    folder.refuse_untrusted(config)
    model = build.model(config.model, classes)
    return model, load_weights(model, config.model.name, folder.checkpoint_file(checkpoint)).get("epoch", 0)


def _restore(components: Components, writer: RunWriter) -> list[str]:
    """Restore the newly built state from the checkpoint; returns warnings about resuming.

    Raises CheckpointError, and ConfigError if the run has more epochs already than the configuration.
    """
    config, summary, path = components.config, writer.summary, writer.folder.checkpoint_file()
    if not path.exists():
        if summary.steps:
            raise CheckpointError(f"{path}: is missing, and was of step {summary.steps:,};\n{writer.without_last()}")
        load_initial_weights(components)
        return []
    _check_same_images(components, summary, path)
    try:
        content = writer.folder.load_checkpoint()
    except CheckpointError as error:
        raise CheckpointError(f"{error};\n{writer.without_last()}") from error
    state, group = components.state, components.group
    try:
        before = parse_config(content["config"])
        if others := messages.differences(unchangeable_values(before), unchangeable_values(config)):
            raise ValueError(f"it is of another run: {'; '.join(others)}")
        writer.records = restore_checkpoint(state, content, len(components.data.train))
        if isinstance(state.average, LastEpochsAverage) and run_length(before) != run_length(config):
            state.average.restart()  # over the last epochs of the new length
        if group.rank > 0:  # the checkpoint has rank 0's generator, from which dropout is drawn
            torch.manual_seed((torch.initial_seed() ^ state.steps) + group.rank)
    except Exception as error:  # a checkpoint that is not from digitnet can lead to any
        raise CheckpointError(f"{path}: does not fit the run ({one_line(error)})") from error
    epochs, started_epochs = run_length(config), state.epoch + (state.partial_epoch is not None)
    if started_epochs > epochs:
        raise ConfigError(
            f"trainer.epochs={epochs}: the run has begun its epoch {started_epochs}; ask for at least {started_epochs}"
        )
    machines = {**summary.device, **summary.versions}, {**components.describe_device(), **versions()}
    return messages.other_length(before, config) + messages.other_machine(*machines)


def _check_same_images(components: Components, summary: RunSummary, path: Path) -> None:
    """Raise CheckpointError if the data set is not the one that the run trained on."""
    now = components.describe_data()
    if messages.differences(summary.dataset, now, ("train", "test", "classes", "crc32")):
        counts = [f"{n['train'] + n['test']:,} images" for n in (summary.dataset, now)]
        difference = f"{counts[0]} then, {counts[1]} now" if counts[0] != counts[1] else "others of the same number"
        raise CheckpointError(
            f"{path}: of a run on other images than those in {components.data.source} now ({difference});\n"
            "restore those, or start a new run"
        )
