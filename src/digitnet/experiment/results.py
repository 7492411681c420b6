"""Writes predictions.csv and the pictures of a finished run."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from digitnet.atomic import write_atomically
from digitnet.experiment import build
from digitnet.experiment.components import Components
from digitnet.metrics import hardest_images
from digitnet.training.record import EpochRecord

PREVIEWED = 10


def write_results(run_dir: Path, logits: Tensor, components: Components, records: Sequence[EpochRecord]) -> None:
    """Write predictions.csv and the pictures, from the test set's logits (N, classes) on the CPU. Raises OSError."""
    data, logger = components.data, components.config.logger
    images, labels = data.test.images.cpu(), data.test.labels.cpu()
    confidence, predicted = logits.softmax(1).max(1)
    accuracy = (predicted == labels).double().mean().item()
    caption = f"{_run_caption(components)}, test accuracy {100 * accuracy:.2f} %"
    if logger.predictions:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [[name] for name in data.test.files] or [[]] * len(labels)
        writer.writerow(["index", "label", "predicted", "confidence", *(["file"] if data.test.files else [])])
        rows = zip(labels.tolist(), predicted.tolist(), confidence.tolist(), names, strict=True)
        writer.writerows((n, label, guess, f"{sure:.6f}", *name) for n, (label, guess, sure, name) in enumerate(rows))
        write_atomically(run_dir / "predictions.csv", text.getvalue().encode(errors="backslashreplace"))
    draw_distorted_samples(run_dir, components)
    if logger.pictures:
        from digitnet.report import plots  # imports matplotlib, half a second, which training does not need

        if len(data.classes) > plots.MOST_CLASSES:
            _write_confusion(run_dir / "confusion.csv", labels, predicted, data.classes)
        chance = 1 - 1 / len(data.classes)
        path = run_dir / "misclassified.png"
        plots.draw_misclassified(path, images, labels, predicted, confidence, data.classes, caption, data.wrong_labels)
        plots.draw_confusion(run_dir / "confusion.png", labels, predicted, data.classes, caption)
        how = f"{caption}. {_how_training_is_measured(components)}"
        plots.draw_curves(run_dir / "curves.png", records, components.validation_split, chance, how)


def hardest_digits(logits: Tensor, components: Components) -> tuple[Tensor, list[str]]:
    """(images (n, 1, 28, 28) uint8, captions) of the test set's hardest: first misclassified, then least sure ones."""
    test, classes = components.data.test, components.data.classes
    labels, (confidence, predicted) = test.labels.cpu(), logits.softmax(1).max(1)
    chosen = hardest_images(labels, predicted, confidence)[:PREVIEWED]
    right = (labels == predicted).nonzero().flatten()
    chosen += right[confidence[right].argsort(stable=True)].tolist()[: PREVIEWED - len(chosen)]
    captions = []
    for index in chosen:
        guess = "" if predicted[index] == labels[index] else f" as {classes[int(predicted[index])]}"
        captions.append(f"{classes[int(labels[index])]}{guess}, {100 * float(confidence[index]):.0f} %")
    return test.images[chosen].cpu(), captions


def _run_caption(components: Components) -> str:
    config = components.config
    return f"{config.model.name} on {components.data.name}, seed {config.seed}"


def _how_training_is_measured(components: Components) -> str:
    """Why the error on the test set may be lower than that on the training set."""
    modules = components.state.model.modules()
    dropout = any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in modules)
    causes = [name for name, used in (("dropout", dropout), ("distortions", components.augment is not None)) if used]
    during, after = (f", with {' and '.join(causes)}", ", without") if causes else ("", "")
    split = components.validation_split
    return f"Training figures are taken during each epoch{during}; those of the {split} after it{after}"


def _write_confusion(path: Path, labels: Tensor, predicted: Tensor, classes: Sequence[str]) -> None:
    """Write a row for each pair of a true and a predicted class that occurs: the picture does not show all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true", "predicted", "count"])
    pairs, counts = torch.stack([labels, predicted], 1).unique(dim=0, return_counts=True)
    for (true, guess), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        writer.writerow([classes[true], classes[guess], count])
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def draw_distorted_samples(run_dir: Path, components: Components) -> None:
    """Write distorted.png, with one column per class, if pictures are on and it does not exist yet. Raises OSError.

    It has a separate generator, so that the picture does not change the training.
    """
    config, path = components.config, run_dir / "distorted.png"
    if components.augment is None or not config.logger.pictures or path.exists():
        return
    from digitnet.report import plots

    train = components.data.train
    labels = train.labels.cpu()
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()[:10]]
    originals = train.images[firsts]
    augment = build.augment(config.aug, Generator(train.images.device).manual_seed(config.seed))
    assert augment is not None
    rows = [augment(originals.float().div(255)).mul(255).round().to(torch.uint8) for _ in range(9)]
    plots.draw_distorted(path, originals.cpu(), torch.stack(rows).cpu(), _run_caption(components))
