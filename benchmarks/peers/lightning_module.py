"""Lightning as lightning-hydra-template uses it: LightningModule, torchmetrics, a DataLoader; no progress bar."""

import sys
import warnings
from typing import Any

import lightning
import networks
import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from pace import Pace
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision import datasets, transforms

warnings.filterwarnings("ignore")  # it advises workers, which on two cores take from the training


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.optimizer = networks.lenet5()
        self.train_acc = MulticlassAccuracy(10, average="micro")
        self.val_acc = MulticlassAccuracy(10, average="micro")
        self.train_loss, self.val_loss, self.val_acc_best = MeanMetric(), MeanMetric(), MaxMetric()

    def model_step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        images, labels = batch
        logits = self.net(images)
        return F.cross_entropy(logits, labels), logits.argmax(dim=1), labels

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, predictions, labels = self.model_step(batch)
        self.train_loss(loss)
        self.train_acc(predictions, labels)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        loss, predictions, labels = self.model_step(batch)
        self.val_loss(loss)
        self.val_acc(predictions, labels)
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer


class Turns(Callback):
    def __init__(self) -> None:
        self.pace = Pace()

    def on_train_epoch_start(self, *_: Any) -> None:
        self.pace.begin()


def main(folder: str) -> None:
    turns = Turns()
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train = DataLoader(datasets.MNIST(folder, train=True, transform=transform), batch_size=32, shuffle=True)
    validation = DataLoader(datasets.MNIST(folder, train=False, transform=transform), batch_size=32)
    lightning.seed_everything(0)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1_000_000,
        logger=False,
        callbacks=[turns],
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,  # its checkpoints, one an epoch, as by default
    )
    trainer.fit(Module(), train, validation)


if __name__ == "__main__":
    main(*sys.argv[1:])
