"""Objects built from configurations."""

import pytest

from digitnet.config.compose import load_config
from digitnet.experiment import build


def test_preloaded_data_are_used_for_equal_configurations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_preloaded", {})
    digits = load_config(["data=digits", "data.enlarge_to=1437"]).data
    build.preload_data(digits)
    assert build.data(digits) is build.data(digits)
    assert len(build.data(load_config(["data=digits", "data.enlarge_to=1500"]).data).train) == 1500
