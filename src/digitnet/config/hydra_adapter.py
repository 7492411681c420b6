"""Hydra over the config directories: the user's before the packaged one."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from hydra import initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from digitnet.config.files import CONF_PACKAGE, Tree

_searched: list[Path] = []  # by whatever Hydra is doing now


class _ConfigDirectories(SearchPathPlugin):
    """The user's config directories before the packaged one, where Hydra's own --config-dir would come after it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for directory in _searched:
            search_path.prepend("digitnet", f"file://{directory}", SearchPathQuery(provider="main"))


Plugins.instance().register(_ConfigDirectories)


@contextlib.contextmanager
def searching(tree: Tree) -> Iterator[None]:
    """Whatever Hydra does in this block, it does over the directories of `tree`."""
    before = list(_searched)
    _searched[:] = tree.own
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "In '.*': Defaults list is missing `_self_`")  # then it is the last entry
            yield
    finally:
        _searched[:] = before


@contextlib.contextmanager
def loading(tree: Tree) -> Iterator[None]:
    """In this block, Hydra composes outside an application of its own, be it within one."""
    state = GlobalHydra.instance()
    running = state.hydra
    state.clear()
    try:
        with searching(tree), initialize_config_module(CONF_PACKAGE, version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running  # Hydra has put another instance in its place
