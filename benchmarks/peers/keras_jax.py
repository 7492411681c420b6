"""Keras 3 on JAX, compiled as it is by default: `fit` over arrays in memory."""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import keras
from keras import layers
from pace import Pace, load_idx


class Turns(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace()

    def on_epoch_begin(self, *_: Any) -> None:
        self.pace.begin()


def main(folder: str) -> None:
    turns = Turns()
    images, labels = load_idx(Path(folder), "train")
    test_images, test_labels = load_idx(Path(folder), "t10k")
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5),
            layers.MaxPooling2D(),
            layers.Activation("sigmoid"),
            layers.Conv2D(16, 5),
            layers.MaxPooling2D(),
            layers.Activation("sigmoid"),
            layers.Dropout(0.5),
            layers.Conv2D(120, 1),
            layers.Flatten(),
            layers.Dense(84, activation="sigmoid"),
            layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    model.fit(
        images[..., None].astype("float32") / 255,
        labels,
        batch_size=32,
        epochs=1_000_000,
        verbose=0,
        validation_data=(test_images[..., None].astype("float32") / 255, test_labels),
        callbacks=[turns],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
