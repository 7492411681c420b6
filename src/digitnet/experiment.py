"""One experiment from end to end: build, train, record, evaluate, picture, in a folder of its own."""

import contextlib
import csv
import io
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from digitnet import build, checkpoint, machine, schema
from digitnet.capture import CapturedStep
from digitnet.checkpoint import TrainState
from digitnet.data import Dataset
from digitnet.display import Display, plural
from digitnet.errors import TAKEN, ConfigError, DivergedError
from digitnet.evaluate import Evaluation, predict
from digitnet.models import check_output
from digitnet.records import (
    EpochRecord,
    RunSummary,
    git_state,
    versions,
    write_atomically,
    write_metrics,
    write_summary,
)
from digitnet.trainer import fit, train_step


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
    where a file cannot be written, KeyboardInterrupt when interrupted; what was finished before stays on disk, and
    summary.json says how the run ended.
    """
    summary = RunSummary(
        status="running",
        command=command,
        seed=config.seed,
        versions=versions(),
        git=git_state(),
        model=config.model.name,
        init_from=config.init_from,
    )
    run_dir.mkdir(parents=True, exist_ok=True)
    _claim(run_dir)
    write_summary(run_dir / "summary.json", summary)
    threads = torch.get_num_threads()
    with _recorded(run_dir, summary), Display(run_dir / "train.log") as display:
        try:
            return _run(config, run_dir, summary, display)
        finally:
            torch.set_num_threads(threads)  # the next job of a sweep has its own


def _run(config: schema.Config, run_dir: Path, summary: RunSummary, display: Display) -> Result:
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
    precision = config.trainer.precision

    data = build.data(config.data).to(device)
    model = build.model(config.model, len(data.classes), Generator().manual_seed(seeds[0])).to(device)
    if channels_last := build.channels_last(config, device):
        model = model.to(memory_format=torch.channels_last)
    check_output(model, data.test.images[:2].float().div_(255), len(data.classes))
    if config.init_from is not None:
        checkpoint.load_weights(model, config.model.name, Path(os.path.expanduser(config.init_from)))
    epochs = schema.run_length(config)
    schedule = build.schedule(config.schedule, epochs)
    augment = build.augment(config.aug, generator)
    capture = build.cuda_graph(config, device)
    state = TrainState(model, build.optimizer(config.optimizer, model, capturable=capture), generator)
    captured, refusal = None, None
    if capture:
        step = partial(train_step, model, state.optimizer, precision=precision)
        captured = CapturedStep(step, state.optimizer, config.trainer.batch_size)

    validation = "test set" if data.validates_on_test else f"{len(data.validation):,} held-out training images"
    summary.dataset = _describe(data, config.data.name, validation)
    summary.parameters = sum(parameter.numel() for parameter in model.parameters())
    summary.device = {
        "type": device.type,
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "channels_last": channels_last,
        "reuses_memory": machine.reuses_memory(),
        "cuda_graph": False,  # until a step has been recorded
    }
    write_summary(run_dir / "summary.json", summary)
    _introduce(display, config, data, validation, summary, epochs)

    records: list[EpochRecord] = []
    steps_per_epoch = math.ceil(len(data.train) / config.trainer.batch_size)
    with display.progress(lambda: state.step, epochs * steps_per_epoch, steps_per_epoch):
        for record in fit(
            state,
            data.train,
            data.validation,
            epochs=epochs,
            batch_size=config.trainer.batch_size,
            lr=config.optimizer.lr,
            schedule=schedule,
            augment=augment,
            warmup_epochs=config.aug.warmup_epochs if isinstance(config.aug, schema.Distort) else 0,
            precision=precision,
            step=captured,
        ):
            records.append(record)
            display.epoch(record, epochs)
            if captured is not None:
                summary.device["cuda_graph"] = captured.recorded
                if captured.refusal != refusal:  # once: in the first epoch, or after it if its batches are few
                    refusal = captured.refusal
                    display.line(f"warning: trainer.cuda_graph: no step can be recorded: {refusal}", "yellow")
            _record_epoch(run_dir, summary, records, state, config, validation)
            if augment is not None and config.logger.pictures and len(records) == 1:
                _draw_samples(run_dir / "distorted.png", data, config, device)  # now: it would delay the first step

    logits = predict(model, data.test.images, precision)
    test = Evaluation.of(logits, data.test.labels.cpu())
    summary.test = {"loss": test.loss, "accuracy": test.accuracy, "errors": test.errors, "n": test.n}
    _write_results(run_dir, config.logger, logits, data, records, validation)
    display.result(test, _shown(run_dir))
    return Result(records, test, model, run_dir)


def _record_epoch(
    run_dir: Path,
    summary: RunSummary,
    records: list[EpochRecord],
    state: TrainState,
    config: schema.Config,
    validation: str,
) -> None:
    """Metrics, checkpoints and the summary after an epoch. `best` is the highest val_acc, then the lowest val_loss."""
    best = max(records, key=lambda record: (record.val_acc, -record.val_loss))
    folder = run_dir / "checkpoints"
    folder.mkdir(exist_ok=True)
    paths = [folder / "last.pt", folder / "best.pt"] if best is records[-1] else [folder / "last.pt"]
    checkpoint.save(paths, state, config.model.name, config.model_dump())
    write_metrics(run_dir / "metrics.csv", records)
    summary.epochs = len(records)
    summary.final = asdict(records[-1])
    summary.best = {
        "epoch": best.epoch,
        "val_loss": best.val_loss,
        "val_acc": best.val_acc,
        "chosen_on": validation,
    }
    write_summary(run_dir / "summary.json", summary)


def _write_results(
    run_dir: Path,
    logger: schema.Logger,
    logits: Tensor,
    data: Dataset,
    records: list[EpochRecord],
    validation: str,
) -> None:
    """predictions.csv and the pictures, from the test set's logits (N, classes)."""
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
        pictures.draw_curves(run_dir / "curves.png", records, validation, chance=1 - 1 / len(data.classes))


def _draw_samples(path: Path, data: Dataset, config: schema.Config, device: torch.device) -> None:
    """The sheet of distorted samples, one column a class, from a generator of its own: it changes nothing else."""
    from digitnet import pictures

    labels = data.train.labels.cpu()
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()[:10]]
    originals = data.train.images[firsts]
    augment = build.augment(config.aug, Generator(device).manual_seed(config.seed))
    assert augment is not None
    rows = [augment(originals.float().div(255)).mul(255).round().to(torch.uint8) for _ in range(9)]
    pictures.draw_distorted(path, originals.cpu(), torch.stack(rows).cpu())


@contextlib.contextmanager
def _recorded(run_dir: Path, summary: RunSummary) -> Iterator[None]:
    """Write down how the block ended: finished, failed, diverged or interrupted."""
    start = time.perf_counter()
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            kept = f"checkpoints/last.pt is of epoch {summary.epochs}" if summary.epochs else "no epoch was finished"
            error.args = (f"interrupted; {kept}; {_shown(run_dir)}",)
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


def _claim(run_dir: Path) -> None:
    """Make the folder this run's own, or raise ConfigError if it is another's."""
    try:
        os.close(os.open(run_dir / "summary.json", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise ConfigError(f"{run_dir}: {TAKEN}") from None


def _introduce(
    display: Display, config: schema.Config, data: Dataset, validation: str, summary: RunSummary, epochs: int
) -> None:
    """The lines before the epochs: the data first."""
    source = "; ".join([data.source, *([str(data.notes["why"])] if "why" in data.notes else [])])
    display.line(
        f"data: {data.name} ({source}), {len(data.train):,} training and {len(data.test):,} test images; "
        f"validation on the {validation}"
    )
    distorted = ""
    if isinstance(config.aug, schema.Distort):
        distorted = f", distorted images from epoch {config.aug.warmup_epochs + 1} on"
    display.line(f"model: {config.model.name}, {summary.parameters:,} parameters{distorted}")
    threads = f" ({plural(summary.device['threads'], 'thread')})" if summary.device["type"] == "cpu" else ""
    display.line(
        f"training: {config.optimizer.name} lr {config.optimizer.lr:g}, {config.schedule.name} schedule, "
        f"{plural(epochs, 'epoch')} of batches of {config.trainer.batch_size}, {config.trainer.precision}, "
        f"seed {config.seed}, on {summary.device['name']}{threads}"
    )
    doubts = [doubt for _, doubt in schema.doubts(config)]
    if config.trainer.precision == "bf16" and summary.device["type"] == "cpu" and not machine.has_bfloat16("cpu"):
        doubts.append("trainer.precision=bf16: this processor has no such arithmetic; fp32 is faster on it")
    if config.trainer.cuda_graph and summary.device["type"] != "cuda":
        doubts.append(f"trainer.cuda_graph=true: there is none on {summary.device['name']}")
    for doubt in doubts:
        display.line(f"warning: {doubt}", "yellow")
    if config.init_from is not None:
        display.line(f"starting from the weights of {config.init_from}")


def _describe(data: Dataset, asked_for: str, validation: str) -> dict[str, Any]:
    return {
        "name": data.name,
        "asked_for": asked_for,
        "source": data.source,
        "train": len(data.train),
        "validation": len(data.validation),
        "validation_on": validation,
        "test": len(data.test),
        "classes": list(data.classes),
        **data.notes,
    }


def _shown(path: Path) -> Path:
    """`path` as short as it can be said from here."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path
