"""The number of training images of each data set, with which configurations are checked without loading any."""

DIGITS_TRAIN = 1437  # the first 1,437 embedded digits; the other 360 are the test set
MNIST_TRAIN = 60_000
TRAINING_IMAGES = {
    "mnist": MNIST_TRAIN,
    "fashion_mnist": MNIST_TRAIN,
    "kmnist": MNIST_TRAIN,
    "qmnist": MNIST_TRAIN,
    "emnist": 240_000,
    "usps": 7291,
    "auto": MNIST_TRAIN,
    "digits": DIGITS_TRAIN,
}
