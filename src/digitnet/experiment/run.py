"""One experiment from end to end: build, train, record, evaluate, picture, in a folder of its own."""

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from digitnet.atomic import SCRATCH_PREFIX, write_atomically
from digitnet.config import schema
from digitnet.errors import TAKEN, CheckpointError, ConfigError, DigitnetError, DistributedError
from digitnet.experiment import build, messages
from digitnet.experiment.components import Components, build_components
from digitnet.lock import this_process
from digitnet.metrics import Evaluation, predict
from digitnet.report.terminal import Terminal, show_error
from digitnet.runs.environment import git_state, versions
from digitnet.runs.formats import RunSummary
from digitnet.runs.writer import RunWriter
from digitnet.signals import Stop, handling_signals
from digitnet.text import one_line, short_path
from digitnet.training import checkpoint, distributed
from digitnet.training.loop import fit, largest_batch
from digitnet.training.record import EpochRecord


@dataclass(frozen=True)
class Result:
    """What `run` leaves in memory; `test` is of the final weights."""

    records: list[EpochRecord]
    test: Evaluation
    model: nn.Module
    run_dir: Path


def run_experiment(
    config: schema.Config,
    run_dir: Path,
    check: Callable[[], None],
    command: str = "",
    quiet: bool = False,
    download: bool = True,
) -> Result:
    """Train, record, evaluate and picture one experiment in `run_dir`, which must not hold a run already.

    The caller has it `locked`, with `check`. `command` is written down as what makes the run again; `quiet`, it is said
    to train.log alone. Under torchrun all ranks call this, and rank 0 does the writing. Raises a DigitnetError for what
    the user can mend, OSError where a file cannot be written, KeyboardInterrupt when interrupted, by SIGTERM too; what
    was finished before stays on disk, and summary.json says how the run ended.
    """
    group = distributed.current_group()
    if group.rank == 0 and (run_dir / "summary.json").exists():
        raise ConfigError(f"{run_dir}: {TAKEN}")
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
    logbook = RunWriter(run_dir, summary, config, check, writes=group.rank == 0)
    device, give_up = _device(config), partial(_give_up, logbook, group)
    with handling_signals() as stop, _own_threads(), logbook.open(stop), group.joined(device, stop, give_up):
        logbook.run_dir = Path(group.first(str(run_dir)))
        setup = build_components(config, download, group)
        _begin(setup)
        return _work(setup, logbook, stop, quiet=quiet)


def resume_experiment(
    config: schema.Config,
    run_dir: Path,
    summary: RunSummary,
    check: Callable[[], None],
    command: str,
    download: bool,
    quiet: bool = False,
) -> Result:
    """Go on with the run in `run_dir` from its last checkpoint, or from the start if none was written.

    The caller has it `locked`, with `check`, and has read its `summary`. `config` is the run's own, but for what
    `schema.CHANGEABLE` lets change. On a CPU, with as many threads, all figures and weights are to the last bit those
    of a run that was never interrupted. Raises as `run` does, and CheckpointError where the checkpoint is missing,
    damaged or of another run; until training goes on, nothing in the folder is changed but who works there.
    """
    group = distributed.current_group()
    logbook = RunWriter(run_dir, summary, config, check, writes=group.rank == 0)
    device, give_up = _device(config), partial(_give_up, logbook, group)
    with handling_signals() as stop, _own_threads(), group.joined(device, stop, give_up):
        summary.process = this_process()
        logbook.write_summary()
        setup = build_components(config, download, group)
        warnings = _restore(setup, logbook)
        for folder in (run_dir, logbook.last.parent) if group.rank == 0 else ():
            for path in folder.glob(f"{SCRATCH_PREFIX}*"):  # what a killed process was writing
                path.unlink()
        summary.error, summary.test = None, None
        summary.resumed.append(command)
        with logbook.open(stop):
            return _work(setup, logbook, stop, warnings, quiet)


def _work(
    setup: Components, logbook: RunWriter, stop: Stop, warnings: Sequence[str] = (), quiet: bool = False
) -> Result:
    """Say what is trained, train, evaluate, picture."""
    config, state, summary, run_dir = setup.config, setup.state, logbook.summary, logbook.run_dir
    logbook.config, summary.config = config, config.model_dump(mode="json")
    summary.dataset, summary.device = summary.dataset | setup.describe_data(), setup.describe_device()
    summary.parameters = sum(parameter.numel() for parameter in state.model.parameters())
    summary.versions, summary.git = versions(), git_state()
    writes = setup.ranks.rank == 0
    log = run_dir / "train.log" if writes else Path(os.devnull)
    with setup.ranks.noticing(), Terminal(log, bool(summary.resumed), quiet or not writes) as display:
        for line in messages.introduction(setup, summary):
            display.line(line)
        for warning in [*messages.run_warnings(setup, summary), *warnings]:
            display.warning(warning)
        if state.step:
            display.line(f"going on from {messages.position(setup)}")
        elif config.init_from is not None:
            display.line(f"starting from the weights of {config.init_from}")
        logbook.write_start(state)
        _train(setup, logbook, display, stop)

        logits = predict(state.model, setup.data.test.images, config.trainer.precision)
        test = Evaluation.of(logits, setup.data.test.labels.cpu())
        summary.test = {"loss": test.loss, "accuracy": test.accuracy, "errors": test.errors, "n": test.n}
        if writes:
            logbook.check()
            _write_results(run_dir, logits, setup, logbook.records)
        display.result(test, short_path(run_dir))
        return Result(logbook.records, test, state.model, run_dir)


def _device(config: schema.Config) -> torch.device:
    return build.device(config.device.name, config.trainer.precision)


@contextlib.contextmanager
def _own_threads() -> Iterator[None]:
    """What a run sets holds for it alone: the next job of a sweep has its own."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _give_up(logbook: RunWriter, group: distributed.ProcessGroup) -> None:
    """End a process that waits in compiled code, where no signal reaches it, for one that is gone."""
    error = DistributedError(f"another process of this run does not answer (rank {group.rank} waited for it)")
    message = logbook.write_failure(error)
    if group.speaks():
        show_error(message)
    os._exit(error.exit_code)


def _begin(setup: Components) -> None:
    """With weights of another run, if they are asked for."""
    config = setup.config
    if config.init_from is not None:
        source = Path(os.path.expanduser(config.init_from))
        checkpoint.load_weights(setup.state.model, config.model.name, source)


def _restore(setup: Components, logbook: RunWriter) -> list[str]:
    """Bring the fresh state to where the checkpoint left it; returns what one should know of going on from there."""
    config, summary, path = setup.config, logbook.summary, logbook.last
    if not path.exists():
        if summary.steps:
            raise CheckpointError(f"{path}: is not there, and was of step {summary.steps:,};\n{logbook.without_last()}")
        _begin(setup)
        return []
    if messages.differences(summary.dataset, now := setup.describe_data(), ("train", "test", "classes", "crc32")):
        counts = [f"{n['train'] + n['test']:,} images" for n in (summary.dataset, now)]
        found = f"{counts[0]} then, {counts[1]} now" if counts[0] != counts[1] else "others of the same number"
        raise CheckpointError(
            f"{path}: of a run on other images than those in {setup.data.source} now ({found});\n"
            "bring those back, or start a new run"
        )
    try:
        content = checkpoint.load_checkpoint(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error};\n{logbook.without_last()}") from error
    try:
        before = schema.Config.model_validate(content["config"])
        if others := messages.differences(schema.fixed(before), schema.fixed(config)):
            raise ValueError(f"it is of another run: {'; '.join(others)}")
        logbook.records = checkpoint.restore_checkpoint(setup.state, content, len(setup.data.train))
        if setup.ranks.rank > 0:  # the checkpoint has the stream that rank 0 draws its dropout from
            torch.manual_seed((torch.initial_seed() ^ setup.state.step) + setup.ranks.rank)
    except Exception as error:  # whatever a foreign file's content leads to
        raise CheckpointError(f"{path}: does not fit the run ({one_line(error)})") from error
    epochs, begun = schema.run_length(config), setup.state.epoch + (setup.state.underway is not None)
    if begun > epochs:
        raise ConfigError(f"trainer.epochs={epochs}: the run has begun its epoch {begun}; ask for at least {begun}")
    machines = {**summary.device, **summary.versions}, {**setup.describe_device(), **versions()}
    return messages.other_length(before, config) + messages.other_machine(*machines)


def _train(setup: Components, logbook: RunWriter, display: Terminal, stop: Stop) -> None:
    """All epochs that are left. Raises KeyboardInterrupt, after a checkpoint, when a signal asked to stop."""
    config, state, data, captured = setup.config, setup.state, setup.data, setup.captured
    epochs, refusal = schema.run_length(config), None
    with display.progress(lambda: state.step, epochs * setup.steps_per_epoch, setup.steps_per_epoch), stop.deferred():
        while state.epoch < epochs:
            records = fit(
                state,
                data.train,
                data.validation,
                epochs=epochs,
                batch_size=config.trainer.batch_size,
                lr=config.optimizer.lr,
                schedule=build.schedule(config.schedule, epochs),
                augment=setup.augment,
                warmup_epochs=config.aug.warmup_epochs if isinstance(config.aug, schema.DistortConfig) else 0,
                precision=config.trainer.precision,
                step=captured or setup.step,
                ranks=setup.ranks,
                pause=lambda: stop.wanted is not None or logbook.is_due(),
            )
            for record in _with_memory(records, setup):
                display.epoch(record, epochs)
                if captured is not None:
                    logbook.summary.device["cuda_graph"] = captured.recorded
                    if captured.refusal != refusal:  # once: in the first epoch, or after it if its batches are few
                        refusal = captured.refusal
                        display.warning(f"trainer.cuda_graph: no step can be recorded: {refusal}")
                logbook.write_epoch(state, record, last=state.epoch == epochs)
                for warning in messages.plateau(logbook.records, config, len(data.classes)):
                    display.warning(warning)
                if setup.ranks.rank == 0:
                    _draw_samples(logbook.run_dir / "distorted.png", setup)  # now: the first step need not wait
            if state.epoch < epochs:  # it paused
                logbook.write_checkpoint(state)
                if stop.wanted is not None:
                    return


def _with_memory(records: Iterator[EpochRecord], setup: Components) -> Iterator[EpochRecord]:
    """The records; where memory does not suffice, raises DigitnetError with what would fit."""
    try:
        yield from records
        return
    except RuntimeError as error:
        known = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
        if not (isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in known)):
            raise
    # Here, where the exception and with it the activations of the step are gone.
    model, trainer, train = setup.state.model, setup.config.trainer, setup.data.train
    device = train.images.device.type
    if not model.training:
        raise DigitnetError(f"the validation needs more memory than {device} has left, whatever trainer.batch_size is")
    if setup.ranks.size > 1:  # a step takes all of them
        advice = "lower it"
    elif fitting := largest_batch(setup.step, train, trainer.batch_size):
        advice = f"trainer.batch_size={fitting} fits"
    else:
        advice = "not even a batch of one image fits"
    raise DigitnetError(
        f"trainer.batch_size={trainer.batch_size}: a step needs more memory than {device} has; {advice}"
    )


def _write_results(run_dir: Path, logits: Tensor, setup: Components, records: list[EpochRecord]) -> None:
    """predictions.csv and the pictures, from the test set's logits (N, classes)."""
    data, logger = setup.data, setup.config.logger
    images, labels = data.test.images.cpu(), data.test.labels.cpu()
    confidence, predicted = logits.softmax(1).max(1)
    if logger.predictions:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["index", "label", "predicted", "confidence"])
        rows = zip(labels.tolist(), predicted.tolist(), confidence.tolist(), strict=True)
        writer.writerows((index, label, guess, f"{sure:.6f}") for index, (label, guess, sure) in enumerate(rows))
        write_atomically(run_dir / "predictions.csv", text.getvalue().encode())
    _draw_samples(run_dir / "distorted.png", setup)
    if logger.pictures:
        from digitnet.report import plots  # matplotlib takes half a second, which training need not wait for

        plots.draw_misclassified(run_dir / "misclassified.png", images, labels, predicted, data.classes)
        plots.draw_confusion(run_dir / "confusion.png", labels, predicted, data.classes)
        plots.draw_curves(run_dir / "curves.png", records, setup.validation, chance=1 - 1 / len(data.classes))


def _draw_samples(path: Path, setup: Components) -> None:
    """The sheet of distorted samples, if it is asked for and not there yet: one column a class.

    A generator of its own draws it: it changes nothing else.
    """
    config = setup.config
    if setup.augment is None or not config.logger.pictures or path.exists():
        return
    from digitnet.report import plots

    train = setup.data.train
    labels = train.labels.cpu()
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()[:10]]
    originals = train.images[firsts]
    augment = build.augment(config.aug, Generator(train.images.device).manual_seed(config.seed))
    assert augment is not None
    rows = [augment(originals.float().div(255)).mul(255).round().to(torch.uint8) for _ in range(9)]
    plots.draw_distorted(path, originals.cpu(), torch.stack(rows).cpu())
