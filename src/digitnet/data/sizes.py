"""How many training images the data sets have: what configurations are checked by, without loading any."""

DIGITS_TRAIN = 1437  # the first of the embedded digits; the other 360 are the test set
MNIST_TRAIN = 60_000
TRAINING_IMAGES = {
    "mnist": MNIST_TRAIN,
    "fashion_mnist": MNIST_TRAIN,
    "kmnist": MNIST_TRAIN,
    "auto": MNIST_TRAIN,
    "digits": DIGITS_TRAIN,
}
