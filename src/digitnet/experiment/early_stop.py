"""Ends a run when it no longer gets better, and keeps the best weights: Prechelt 1998, "Early stopping - but when?"."""

import copy

from digitnet.config.schema import Config
from digitnet.errors import CheckpointError
from digitnet.experiment.components import Components
from digitnet.runs.writer import RunWriter
from digitnet.text import plural
from digitnet.training.checkpoint import load_weights

ADVICE = "restore it, or keep the last weights: trainer.early_stop=null"


def has_ended_early(config: Config, writer: RunWriter) -> bool:
    """Whether no epoch after the records so far is to be trained, although the run has some left.

    With trainer.early_stop, if so many epochs have passed since the best one; with debug=overfit, when all is right.
    """
    if not writer.records:
        return False
    patience, last = config.trainer.early_stop, writer.records[-1]
    is_learned = config.debug.name == "overfit" and last.val_acc == 1
    return is_learned or (patience is not None and last.epoch - writer.best.epoch >= patience)


def keep_best_weights(components: Components, writer: RunWriter) -> str | None:
    """Let the weights of the best epoch be those that are evaluated and saved, if trainer.early_stop is set.

    Returns what it has done, for people. The trained weights stay, for a resumed run. Raises CheckpointError if
    checkpoints/best.pt is missing, and OSError.
    """
    config, state, group = components.config, components.state, components.group
    patience, best = config.trainer.early_stop, writer.best
    if patience is None:
        return None
    if best.epoch != writer.records[-1].epoch:
        path = writer.folder.checkpoint_file("best")
        try:
            weights = load_weights(copy.deepcopy(state.model), config.model.name, path) if group.rank == 0 else None
        except CheckpointError as error:
            raise CheckpointError(f"{error}; {ADVICE}") from error
        weights = group.broadcast(weights and {key: weights[key] for key in ("model", "epoch")})
        if weights["epoch"] != best.epoch:
            raise CheckpointError(f"{path}: is of epoch {weights['epoch']}, and the best was {best.epoch}; {ADVICE}")
        state.kept = copy.deepcopy(state.model)
        state.kept.load_state_dict(weights["model"])
        writer.write_checkpoint(state)
    kept = f"the weights of epoch {best.epoch}, which has the highest validation accuracy, are kept"
    if not has_ended_early(config, writer):
        return kept
    return f"stopped, for trainer.early_stop={patience}: {plural(patience, 'epoch')} without a better one; {kept}"
