"""The rows of the documents' tables: what benchmarks/results.py runs."""

from dataclasses import dataclass
from typing import Literal

Table = Literal["notebook", "best", "1998", "choices of 1998"]


@dataclass(frozen=True)
class Row:
    """`overrides` are run for so many `seeds`, from `first_seed` on."""

    name: str
    what: str
    overrides: str
    seeds: int
    notebook: str = "–"
    after: str | None = None  # the row whose run of the same seed this one starts from
    threads: int = 1
    data: str = "mnist"
    table: Table = "notebook"
    first_seed: int = 0

    @property
    def command(self) -> str:
        start = ["init_from=RUN_DIR"] if self.after else []
        data = [f"data={self.data}"] if self.data != "mnist" else []
        return " ".join(["digitnet", *self.overrides.split(), *start, *data])

    @property
    def all_seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)


def _best(name: str, what: str, seeds: int) -> Row:
    """A preset whose values were found on held-out images with seed 0, which is not used here."""
    return Row(name, what, f"experiment={name}", seeds, threads=2, table="best", first_seed=1)


def _of_1998(name: str, what: str, overrides: str = "") -> Row:
    """Five passes with a choice that the paper leaves open, or another one than the paper's."""
    words = f"experiment=lenet5_1998 trainer.epochs=5 {overrides}".strip()
    return Row(f"1998_{name}", what, words, 3, table="choices of 1998")


ROWS = [
    Row("lenet5", "LeNet-5 (part I), from scratch", "experiment=lenet5", 5),
    Row(
        "lenet5_twice",
        "LeNet-5 (part I), trained twice as in its log",
        "experiment=lenet5",
        3,
        "99.00 %",
        after="lenet5",
    ),
    Row("lenet5_rmsprop", "LeNet-5, RMSprop (part II as its log shows it)", "experiment=lenet5_rmsprop", 3, "98.76 %"),
    Row("lenet5_distort", "LeNet-5, RMSprop, distortions (part II as its text has it)", "experiment=lenet5_distort", 3),
    Row("distort", "LeNet-5 with distortions", "model=lenet5 aug=distort", 5),
    Row("allconv", "all-convolutional (part III, never trained there)", "experiment=allconv", 3, threads=2),
    Row(
        *("allconv_relu", "all-convolutional with the notebook's last ReLU, three epochs"),
        *("experiment=allconv model.final_relu=true trainer.epochs=3", 5),
        threads=2,
    ),
    Row("allconv_short", "all-convolutional, two epochs", "experiment=allconv trainer.epochs=2", 3, threads=2),
    Row(
        *("allconv_bf16", "all-convolutional, two epochs in bfloat16"),
        *("experiment=allconv trainer.epochs=2 trainer.precision=bf16", 3),
        threads=2,
    ),
    Row(
        *("momentum", "LeNet-5 with the momentum that the notebook intended"),
        *("experiment=lenet5 optimizer.momentum=0.8", 3),
    ),
    Row("digits", "LeNet-5 on the embedded digits", "", 5, data="digits"),
    Row("digits_distort", "the same with distortions", "model=lenet5 aug=distort", 5, data="digits"),
    _best("fast99", "99 %, small network with batch normalization", 10),
    _best("fast995", "99.5 %, likewise", 10),
    _best("lenet5_best", "the notebook's LeNet-5", 5),
    _best("allconv_best", "the notebook's all-convolutional network", 3),
    Row("lenet5_1998", "without distortions", "experiment=lenet5_1998", 3, table="1998", first_seed=1),
    Row("lenet5_1998_distort", "with distortions", "experiment=lenet5_1998_distort", 3, table="1998", first_seed=1),
    _of_1998("as_it_is", "the preset"),
    _of_1998("init_paper", "initial weights within 2.4 / fan-in, as in the paper", "model.init=paper"),
    _of_1998("paper_rate", "the paper's rates: eta of 0.0005 at first", "optimizer.lr=0.0005"),
    _of_1998("images", "second derivatives of 2,000 images, not 500", "optimizer.images=2000"),
    _of_1998("j_low", "equation 9 with j = 0.1", "loss.j=0.1"),
    _of_1998("j_high", "equation 9 with j = 15", "loss.j=15"),
    _of_1998("cross_entropy", "equation 9 without j", "loss=cross_entropy"),
    _of_1998("mse", "equation 8, the squared distance alone", "loss=mse"),
    _of_1998("units", "ten trained units instead of the codes", "model.output=units"),
    _of_1998("units_mse", "the same with equation 8", "model.output=units loss=mse"),
    _of_1998("sgd", "plain SGD", "optimizer=sgd optimizer.lr=0.001"),
    _of_1998("adam", "Adam", "optimizer=adam optimizer.lr=0.0003"),
]
