"""Runs one experiment from start to end, in its own folder: build, train, observe, evaluate."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from digitnet import schedules
from digitnet.config import schema
from digitnet.config.rules import run_length, warmup_epochs
from digitnet.errors import CheckpointError, DistributedError
from digitnet.experiment import build, messages
from digitnet.experiment.components import Components, build_components, run_device
from digitnet.experiment.debugging import finding_nan, overfit_result, profiled
from digitnet.experiment.early_stop import has_ended_early, keep_best_weights
from digitnet.experiment.memory_advice import with_memory_advice
from digitnet.experiment.results import draw_distorted_samples, hardest_digits, write_results
from digitnet.lock import this_process
from digitnet.metrics import Evaluation
from digitnet.report.terminal import Terminal, show_error
from digitnet.report.trackers.process import TrackerProcesses, check_installed
from digitnet.runs.environment import git_state, versions
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import RunSummary
from digitnet.runs.observer import Observer, StartedRun
from digitnet.runs.writer import RunWriter
from digitnet.signals import Stop, handling_signals
from digitnet.text import plural
from digitnet.training.checkpoint import load_weights
from digitnet.training.distributed import ProcessGroup, current_group
from digitnet.training.loop import fit
from digitnet.training.record import EpochRecord
from digitnet.training.runtime import restored_settings
from digitnet.training.step import reporting_step


@dataclass(frozen=True)
class Result:
    """The result of a run, in memory; `test` is the evaluation of the final weights on the test set.

    `model` is on the device that the run trained on, or on the CPU if the run was finished before.
    """

    records: list[EpochRecord]
    test: Evaluation
    model: nn.Module
    run_dir: Path


def run_experiment(
    config: schema.Config,
    folder: RunFolder,
    command: str = "",
    quiet: bool = False,
    download: bool = True,
    warnings: Sequence[str] = (),
) -> Result:
    """Train, record, evaluate and draw one experiment in `folder`, which is claimed and holds no run yet.

    `command` is recorded as the command that repeats the run; `warnings` are printed before the epochs, and a `quiet`
    run prints only to train.log. Under torchrun
    all processes call this, and rank 0 writes. Raises a DigitnetError for errors that the user can fix, OSError if a
    file cannot be written, KeyboardInterrupt when interrupted, also by SIGTERM; metrics and checkpoints written before
    stay on disk, and the status in summary.json is the way the run ended.
    """
    group = current_group()
    if group.rank == 0:
        folder.refuse_taken()
    summary = RunSummary(
        status="running",
        command=command,
        seed=config.seed,
        versions=versions(),
        dataset={"asked_for": config.data.name},
        model=config.model.name,
        init_from=config.init_from,
        config=config.model_dump(mode="json"),
        process=this_process(),
    )
    writer = RunWriter(folder, summary, config, writes=group.rank == 0)
    device = run_device(config)  # before anything is written: the same command on another device may take the folder
    check_installed(build.trackers(config.tracker))
    with (
        handling_signals() as stop,
        restored_settings(),
        observed(writer, stop) as observers,
        initialized(group, device, stop, writer),
    ):
        writer.folder.path = Path(group.broadcast(str(folder.path)))
        components = build_components(config, download, group)
        load_initial_weights(components)
        return train_and_evaluate(components, writer, observers, stop, warnings, quiet)


@contextlib.contextmanager
def observed(writer: RunWriter, stop: Stop) -> Iterator[list[Observer]]:
    """In this block the run's status is "running"; at its end all observers are told how it ended.

    Yields the list of observers, to be extended.
    """
    summary = writer.summary
    observers: list[Observer] = [writer]
    try:
        with stop.converting_errors():
            summary.status = "running"
            writer.write_summary()  # who sees it may interrupt the run before this returns
            yield observers
        summary.status = "finished"
        while observers:
            observers.pop(0).end(summary)
    except BaseException as error:
        stop.ignore_signals()
        writer.record_failure(error)
        for observer in observers:
            with contextlib.suppress(Exception):  # the first error is the message
                observer.end(summary)
        raise


def train_and_evaluate(
    components: Components,
    writer: RunWriter,
    observers: list[Observer],
    stop: Stop,
    warnings: Sequence[str] = (),
    quiet: bool = False,
) -> Result:
    """Train what is left of the run, evaluate the final weights on the test set, and write the results."""
    config, state, summary, run_dir = components.config, components.state, writer.summary, writer.folder.path
    summary.config = config.model_dump(mode="json")
    summary.dataset, summary.device = summary.dataset | components.describe_data(), components.describe_device()
    summary.parameters = sum(parameter.numel() for parameter in state.model.parameters())
    summary.versions, summary.git = versions(), git_state()
    writes = components.group.rank == 0
    log = writer.folder.log_file if writes else None
    with components.group.translated_errors():
        terminal = Terminal(log, run_dir, append=bool(summary.resumed), quiet=quiet or not writes)
        trackers = build.trackers(config.tracker) if writes else []
        tracking = TrackerProcesses(trackers, terminal.line, terminal.warning, writer.resume_command())
        observers.insert(0, terminal)
        observers.append(tracking)  # told last: it waits for answers, and the run is finished by then
        run = StartedRun(
            run_dir,
            config,
            summary,
            state,
            list(writer.records),
            introduction=messages.introduction(components, summary),
            warnings=[*messages.run_warnings(components, summary), *warnings],
            starting_point=messages.starting_point(components),
        )
        for observer in observers:
            observer.start(run)
        _train_debugged(components, writer, observers, terminal, tracking, stop)

        logits = components.predict(state.evaluated, components.data.test.images)
        test = Evaluation.of(logits, components.data.test.labels.cpu())
        summary.test = {"loss": test.loss, "accuracy": test.accuracy, "errors": test.errors, "n": test.n}
        if writes:
            writer.folder.check()
            write_results(run_dir, logits, components, writer.records)
            terminal.preview(hardest_digits(logits, components), config.logger.preview)
        return Result(writer.records, test, state.evaluated, run_dir)


def _train_debugged(
    components: Components,
    writer: RunWriter,
    observers: Sequence[Observer],
    terminal: Terminal,
    tracking: TrackerProcesses,
    stop: Stop,
) -> None:
    """Train as `_train`, with what `debug` asks for around it, and print what that found."""
    debug, state, run_dir = components.config.debug.name, components.state, writer.folder.path
    device = components.data.train.images.device
    with finding_nan(state, debug == "nan"), profiled(run_dir, device, debug == "profile") as table:
        _train(components, writer, observers, terminal, tracking, stop)
    if kept := keep_best_weights(components, writer):
        terminal.line(kept)
    for line in table:
        terminal.line(line, whole=True)
    if debug == "nan":
        terminal.line(f"debug=nan: every output and every gradient was finite, in {plural(state.steps, 'step')}")
    if debug == "overfit":
        text, is_learned = overfit_result(writer.records, len(components.data.validation))
        if is_learned:
            terminal.line(text)
        else:
            terminal.warning(text)


def _train(
    components: Components,
    writer: RunWriter,
    observers: Sequence[Observer],
    terminal: Terminal,
    tracking: TrackerProcesses,
    stop: Stop,
) -> None:
    """Train all remaining epochs. Raises KeyboardInterrupt after a signal, when a checkpoint has been written."""
    config, state, data, recorded = components.config, components.state, components.data, components.recorded_step
    epochs, refusal = run_length(config), None
    is_overfitted = config.debug.name == "overfit"
    steps, step = components.steps_per_epoch, recorded or components.step
    if (every := config.tracker.every_steps) is not None:
        step = reporting_step(step, state, every, tracking.step, components.group)
    with terminal.progress(lambda: state.steps, epochs * steps, steps), stop.deferred():
        while state.epoch < epochs and not has_ended_early(config, writer):
            records = fit(
                state,
                data.train,
                data.validation,
                epochs=epochs,
                batch_size=config.trainer.batch_size,
                schedule=schedules.constant if is_overfitted else build.schedule(config.schedule, epochs),
                augment=components.augment,
                warmup_epochs=warmup_epochs(config),
                step=step,
                evaluate=components.evaluate,
                pause=lambda: stop.received is not None or writer.is_due(),
                group=components.group,
            )
            for record in with_memory_advice(records, components):
                if recorded is not None:
                    writer.summary.device["cuda_graph"] = recorded.recorded
                for observer in observers:
                    observer.epoch(record)
                warnings = messages.plateau(writer.records, config, len(data.classes), len(data.train))
                if recorded is not None and recorded.refusal != refusal:  # once
                    refusal = recorded.refusal
                    warnings.append(f"trainer.cuda_graph: no step can be recorded: {refusal}")
                for warning in warnings:
                    terminal.warning(warning)
                if components.group.rank == 0:
                    draw_distorted_samples(writer.folder.path, components)  # only now, not to delay the first step
                if has_ended_early(config, writer):
                    return
            if state.epoch < epochs:  # `fit` paused
                writer.write_checkpoint(state)
                if stop.received is not None:
                    return


def initialized(
    group: ProcessGroup, device: torch.device, stop: Stop, writer: RunWriter
) -> contextlib.AbstractContextManager[None]:
    """In this block the process group is initialized on the run's device. Raises ConfigError, DistributedError."""
    return group.initialized(device, stop, partial(_force_exit, writer, group))


def _force_exit(writer: RunWriter, group: ProcessGroup) -> None:
    """Exit from a process that waits in compiled code, where Python handles no signals, for one that is gone."""
    error = DistributedError(f"another process of this run does not answer (rank {group.rank} waited for it)")
    message = writer.record_failure(error)
    if group.reports_error():
        show_error(message)
    os._exit(error.exit_code)


def load_initial_weights(components: Components) -> None:
    """Load the weights that `init_from` names, if it is set. Raises CheckpointError."""
    config = components.config
    if config.init_from is not None:
        source = Path(os.path.expanduser(config.init_from))
        path = source.resolve() if source.is_file() else RunFolder(source).checkpoint_file()
        if not path.exists():
            raise CheckpointError(f"init_from={source}: no checkpoint there; give the folder of a run or a checkpoint")
        load_weights(components.state.model, config.model.name, path)
        if components.state.average is not None:
            components.state.average.restart()
