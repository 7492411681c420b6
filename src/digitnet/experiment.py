"""One experiment from end to end: build, train, record, evaluate, picture, in a folder of its own."""

import contextlib
import csv
import io
import math
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from digitnet import build, checkpoint, machine, notices, schema
from digitnet.capture import CapturedStep
from digitnet.checkpoint import TrainState
from digitnet.data import Dataset, Split
from digitnet.display import Display, plural
from digitnet.errors import TAKEN, ConfigError, DigitnetError, DivergedError
from digitnet.evaluate import Evaluation, predict
from digitnet.interrupts import Stop, listening
from digitnet.lock import locked, myself
from digitnet.logbook import Logbook
from digitnet.models import check_output
from digitnet.records import (
    SCRATCH,
    EpochRecord,
    RunSummary,
    git_state,
    read_summary,
    versions,
    write_atomically,
    write_summary,
)
from digitnet.trainer import fit, largest_batch, train_step


@dataclass(frozen=True)
class Result:
    """What `run` leaves in memory; `test` is of the final weights."""

    records: list[EpochRecord]
    test: Evaluation
    model: nn.Module
    run_dir: Path


def run(config: schema.Config, run_dir: Path, command: str = "") -> Result:
    """Train, record, evaluate and picture one experiment in `run_dir`, which must not hold a run already.

    `command` is written down as what makes the run again. Raises a DigitnetError for what the user can mend, OSError
    where a file cannot be written, KeyboardInterrupt when interrupted, by SIGTERM too; what was finished before stays
    on disk, and summary.json says how the run ended.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir):
        if (run_dir / "summary.json").exists():
            raise ConfigError(f"{run_dir}: {TAKEN}")
        summary = RunSummary(
            status="running",
            command=command,
            seed=config.seed,
            versions=versions(),
            git=git_state(),
            model=config.model.name,
            init_from=config.init_from,
            config=config.model_dump(mode="json"),
            process=myself(),
        )
        return _work(config, run_dir, summary)


def resume(config: schema.Config, run_dir: Path, command: str = "") -> Result:
    """Go on with the run in `run_dir` from its last checkpoint, or from the start if it has none.

    `config` is the run's own, but for what `schema.CHANGEABLE` lets change. On a CPU, with as many threads, all figures
    and weights are to the last bit those of a run that was never interrupted. Raises as `run` does, and CheckpointError
    where the checkpoint is damaged or does not fit.
    """
    with locked(run_dir):
        for path in run_dir.rglob(f"{SCRATCH}*"):  # what a killed process was writing
            path.unlink()
        summary = read_summary(run_dir / "summary.json")
        before = {**summary.device, **summary.versions}
        warnings = notices.other_length(summary.config, config)
        config = config.model_copy(update={"data": build.settled(config.data, summary.dataset.get("name"))})
        summary.status, summary.error, summary.test = "running", None, None
        summary.config, summary.process = config.model_dump(mode="json"), myself()
        summary.versions, summary.git = versions(), git_state()
        summary.resumed.append(command)
        return _work(config, run_dir, summary, before, warnings)


def _work(
    config: schema.Config,
    run_dir: Path,
    summary: RunSummary,
    before: dict[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> Result:
    """Run, and write down how it ends. `before` are device and versions of a run that is gone on with."""
    write_summary(run_dir / "summary.json", summary)
    threads = torch.get_num_threads()
    with (
        listening() as stop,
        _recorded(run_dir, summary),
        Display(run_dir / "train.log", append=before is not None) as display,
    ):
        try:
            setup = _set_up(config)
            logbook = Logbook(run_dir, summary, config, setup.validation, setup.fingerprint)
            went_on = _start(setup, logbook, config)
            _describe(summary, setup, config)
            for line in notices.introduction(config, setup.data, setup.validation, summary):
                display.line(line)
            for warning in [*notices.doubts(config, setup.data, summary), *warnings]:
                display.warning(warning)
            if went_on:
                for warning in notices.differences(before or {}, {**summary.device, **summary.versions}):
                    display.warning(warning)
                display.line(f"going on from {notices.position(setup.state, setup.steps_per_epoch)}")
            elif config.init_from is not None:
                display.line(f"starting from the weights of {config.init_from}")
            logbook.write_figures()  # a killed process may have written more than its checkpoint knows, or less
            _train(config, setup, logbook, display, stop)

            logits = predict(setup.state.model, setup.data.test.images, config.trainer.precision)
            test = Evaluation.of(logits, setup.data.test.labels.cpu())
            summary.test = {"loss": test.loss, "accuracy": test.accuracy, "errors": test.errors, "n": test.n}
            _write_results(run_dir, config.logger, logits, setup, logbook.records)
            display.result(test, _shown(run_dir))
            return Result(logbook.records, test, setup.state.model, run_dir)
        finally:
            torch.set_num_threads(threads)  # the next job of a sweep has its own


@dataclass(frozen=True)
class _Setup:
    """What a run trains, and with what."""

    data: Dataset
    fingerprint: int  # of the data
    state: TrainState
    augment: Callable[[Tensor], Tensor] | None
    captured: CapturedStep | None
    channels_last: bool
    steps_per_epoch: int

    @property
    def device(self) -> torch.device:
        return self.data.train.images.device

    @property
    def validation(self) -> str:
        """The split that chooses best.pt."""
        data = self.data
        return "test set" if data.validates_on_test else f"{len(data.validation):,} held-out training images"


def _set_up(config: schema.Config) -> _Setup:
    """The machine, as PyTorch is told once, and all objects, freshly drawn from the seed."""
    if config.trainer.threads is not None:
        if config.trainer.threads > (cores := os.cpu_count() or 1):
            raise ConfigError(f"trainer.threads={config.trainer.threads}: this machine has {plural(cores, 'core')}")
        torch.set_num_threads(config.trainer.threads)
    device = build.device(config.device.name, config.trainer.precision)
    machine.make_deterministic(device)
    if config.trainer.reuse_memory:
        machine.reuse_memory()
    # Streams of their own for weights, for permutations and distortions, and (torch's global one) for dropout.
    seeds = torch.randint(2**62, (3,), generator=Generator().manual_seed(config.seed)).tolist()
    torch.manual_seed(seeds[2])
    generator = Generator(device).manual_seed(seeds[1])

    data = build.data(config.data)
    fingerprint = data.fingerprint()
    data = data.to(device)
    model = build.model(config.model, len(data.classes), Generator().manual_seed(seeds[0])).to(device)
    if channels_last := build.channels_last(config, device):
        model = model.to(memory_format=torch.channels_last)
    check_output(model, data.test.images[:2].float().div_(255), len(data.classes))
    augment = build.augment(config.aug, generator)
    capture = build.cuda_graph(config, device)
    optimizer = build.optimizer(config.optimizer, model, capturable=capture)
    captured = None
    if capture:
        step = partial(train_step, model, optimizer, precision=config.trainer.precision)
        captured = CapturedStep(step, optimizer, config.trainer.batch_size)
    return _Setup(
        data,
        fingerprint,
        TrainState(model, optimizer, generator),
        augment,
        captured,
        channels_last,
        steps_per_epoch=math.ceil(len(data.train) / config.trainer.batch_size),
    )


def _start(setup: _Setup, logbook: Logbook, config: schema.Config) -> bool:
    """Bring the fresh state to where training goes on or begins; returns whether it goes on."""
    state, epochs = setup.state, schema.run_length(config)
    if logbook.last.exists():
        logbook.records = checkpoint.restore(state, logbook.last, setup.fingerprint)
        begun = state.epoch + (state.underway is not None)
        if begun > epochs:
            raise ConfigError(f"trainer.epochs={epochs}: the run has {begun} already; ask for as many or more")
        return True
    if config.init_from is not None:
        source = Path(os.path.expanduser(config.init_from))
        checkpoint.load_weights(state.model, config.model.name, source)
    return False


def _describe(summary: RunSummary, setup: _Setup, config: schema.Config) -> None:
    """Into the summary: what was found when everything was built."""
    data, device = setup.data, setup.device
    summary.dataset = {
        "name": data.name,
        "asked_for": config.data.name,
        "source": data.source,
        "train": len(data.train),
        "validation": len(data.validation),
        "validation_on": setup.validation,
        "test": len(data.test),
        "classes": list(data.classes),
        **data.notes,
    }
    summary.parameters = sum(parameter.numel() for parameter in setup.state.model.parameters())
    summary.device = {
        "type": device.type,
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper(),
        "threads": torch.get_num_threads(),
        "precision": config.trainer.precision,
        "channels_last": setup.channels_last,
        "reuses_memory": machine.reuses_memory(),
        "cuda_graph": False,  # until a step has been recorded
    }


def _train(config: schema.Config, setup: _Setup, logbook: Logbook, display: Display, stop: Stop) -> None:
    """All epochs that are left. Raises KeyboardInterrupt, after a checkpoint, when a signal asked to stop."""
    state, data, captured = setup.state, setup.data, setup.captured
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
                warmup_epochs=config.aug.warmup_epochs if isinstance(config.aug, schema.Distort) else 0,
                precision=config.trainer.precision,
                step=captured,
                pause=lambda: stop.wanted is not None or logbook.is_due(),
            )
            for record in _with_memory(records, state.model, data.train, config.trainer):
                display.epoch(record, epochs)
                if captured is not None:
                    logbook.summary.device["cuda_graph"] = captured.recorded
                    if captured.refusal != refusal:  # once: in the first epoch, or after it if its batches are few
                        refusal = captured.refusal
                        display.warning(f"trainer.cuda_graph: no step can be recorded: {refusal}")
                logbook.write_epoch(state, record, last=state.epoch == epochs)
                for warning in notices.plateau(logbook.records, config, len(data.classes)):
                    display.warning(warning)
                if setup.augment is not None and config.logger.pictures and record.epoch == 1:
                    _draw_samples(logbook.run_dir / "distorted.png", setup, config)  # now: the first step need not wait
            if state.epoch < epochs:  # it paused
                logbook.write_checkpoint(state)
                if stop.wanted is not None:
                    return


def _with_memory(
    records: Iterator[EpochRecord], model: nn.Module, train: Split, trainer: schema.Trainer
) -> Iterator[EpochRecord]:
    """The records; where memory does not suffice, raises DigitnetError with what would fit."""
    try:
        yield from records
        return
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise
    # Here, where the exception and with it the activations of the step are gone.
    fitting = largest_batch(model, train, trainer.batch_size, trainer.precision)
    raise DigitnetError(
        f"trainer.batch_size={trainer.batch_size}: a step needs more memory than {train.images.device.type} has; "
        + (f"trainer.batch_size={fitting} fits" if fitting else "not even a batch of one image fits")
    )


def _write_results(
    run_dir: Path, logger: schema.Logger, logits: Tensor, setup: _Setup, records: list[EpochRecord]
) -> None:
    """predictions.csv and the pictures, from the test set's logits (N, classes)."""
    data = setup.data
    images, labels = data.test.images.cpu(), data.test.labels.cpu()
    confidence, predicted = logits.softmax(1).max(1)
    if logger.predictions:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["index", "label", "predicted", "confidence"])
        rows = zip(labels.tolist(), predicted.tolist(), confidence.tolist(), strict=True)
        writer.writerows((index, label, guess, f"{sure:.6f}") for index, (label, guess, sure) in enumerate(rows))
        write_atomically(run_dir / "predictions.csv", text.getvalue().encode())
    if logger.pictures:
        from digitnet import pictures  # matplotlib takes half a second, which training need not wait for

        pictures.draw_misclassified(run_dir / "misclassified.png", images, labels, predicted, data.classes)
        pictures.draw_confusion(run_dir / "confusion.png", labels, predicted, data.classes)
        pictures.draw_curves(run_dir / "curves.png", records, setup.validation, chance=1 - 1 / len(data.classes))


def _draw_samples(path: Path, setup: _Setup, config: schema.Config) -> None:
    """The sheet of distorted samples, one column a class, from a generator of its own: it changes nothing else."""
    from digitnet import pictures

    train = setup.data.train
    labels = train.labels.cpu()
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()[:10]]
    originals = train.images[firsts]
    augment = build.augment(config.aug, Generator(setup.device).manual_seed(config.seed))
    assert augment is not None
    rows = [augment(originals.float().div(255)).mul(255).round().to(torch.uint8) for _ in range(9)]
    pictures.draw_distorted(path, originals.cpu(), torch.stack(rows).cpu())


@contextlib.contextmanager
def _recorded(run_dir: Path, summary: RunSummary) -> Iterator[None]:
    """Write down how the block ended: finished, failed, diverged or interrupted."""
    start = time.perf_counter() - summary.seconds
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            kept = f"checkpoints/last.pt is of step {summary.steps:,}" if summary.steps else "no checkpoint was written"
            error.args = (f"interrupted; {kept}; to go on: digitnet resume {shlex.quote(str(_shown(run_dir)))}",)
        known = {DivergedError: "diverged", KeyboardInterrupt: "interrupted"}
        summary.status = known.get(type(error), "failed")
        summary.error = str(error) or repr(error)
        summary.seconds = time.perf_counter() - start
        with contextlib.suppress(OSError):  # what went wrong first is the message, be the disk full or not
            write_summary(run_dir / "summary.json", summary)
            with (run_dir / "train.log").open("a") as log:
                log.write(f"error: {summary.error}\n")
        raise
    summary.status = "finished"
    summary.seconds = time.perf_counter() - start
    write_summary(run_dir / "summary.json", summary)


def _shown(path: Path) -> Path:
    """`path` as short as it can be said from here."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path
