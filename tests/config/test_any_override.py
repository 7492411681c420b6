"""Whatever is typed, the composer answers with a configuration or a ConfigError."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digitnet.config.compose import compose_run
from digitnet.config.files import Tree
from digitnet.config.schema import GROUPS
from digitnet.errors import ConfigError

KEYS = [*GROUPS, "seed", "init_from", "trainer", "trainer.epochs", "optimizer.lr", "optimizer.betas", "aug.shift"]
KEYS += ["schedule.phases", "data.root", "model.kwargs", "hydra.run.dir", "hydra.searchpath", "hydra/launcher", "x", ""]
WORDS = ["lenet5", "sgd", "adam", "distort", "custom", "folder", "step", "1", "-1", "1e400", "nan", "null", "true"]
WORDS += ["[1,2]", "{a: 1}", "{", "[", "'", '"', "${seed}", "${x}", "${", "a,b", "1,2", "range(3)", "glob(*)", "a=b"]
WORDS += [
    " ",
    "\\",
    "\n",
    "#",
    "é",
    "???",
    "../config",
    "@x",
    "_self_",
    "choice(1,2)",
    "int(3)",
    "interval(1,2)",
    "0x1",
]
OVERRIDES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "", "+", "++", "~"]),
    st.one_of(st.sampled_from(KEYS), st.text(max_size=6)),
    st.sampled_from(["=", "=", "=", "", "@a=", ".name=", "/x="]),
    st.one_of(st.sampled_from(WORDS), st.text(max_size=6)),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OVERRIDES, min_size=1, max_size=3))
def test_no_override_leads_to_a_traceback(overrides: list[str]) -> None:
    """The composer answers with a configuration or a ConfigError, whatever is typed; `os.environ` stays as it is."""
    before = dict(os.environ)
    try:
        compose_run(overrides, Tree.at())
    except ConfigError as error:
        text = str(error)
        assert text
        assert len(text.splitlines()) <= 4, text
        assert "Traceback" not in text
    assert dict(os.environ) == before
