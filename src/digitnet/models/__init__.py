"""The networks, each usable alone: images (B, 1, 28, 28) float32 in [0, 1] -> logits (B, classes)."""

from digitnet.models.allconv import AllConv
from digitnet.models.custom import build_custom, check_batch_of_one, check_output
from digitnet.models.fastnet import FastNet
from digitnet.models.lenet5 import LeNet5
from digitnet.models.lenet5_1998 import OriginalLeNet5

__all__ = ["AllConv", "FastNet", "LeNet5", "OriginalLeNet5", "build_custom", "check_batch_of_one", "check_output"]
