import subprocess
import sys

from digitnet.data import load_digits
from digitnet.data.sizes import DIGITS_TRAIN, TRAINING_IMAGES


def test_digits_have_the_stated_number_of_training_images() -> None:
    assert len(load_digits(DIGITS_TRAIN).train) == TRAINING_IMAGES["digits"]


def test_sizes_are_known_without_torch() -> None:
    code = "import sys, digitnet.data.sizes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
