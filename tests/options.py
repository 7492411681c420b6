"""Every option of every packaged group, for tests."""

from conftest import CHECKOUT

CONF = CHECKOUT / "conf"
# Sweeps have tests in tests/sweep.
OPTIONS = sorted(f"{p.parent.name}={p.stem}" for p in CONF.glob("*/*.yaml") if p.parent.name != "sweep")
NEEDED = {
    "model=custom": [
        "model.target=torch.nn:Conv2d",
        "model.kwargs={in_channels: 1, out_channels: 10, kernel_size: 28}",
    ],
    "data=csv": ["data.root=images.csv"],
    "data=folder": ["data.root=images"],
}
