"""`KeepingRepository`: reads each YAML file once for all compositions of a command."""

import pickle
from functools import cache
from typing import Any


class KeepingRepository:
    """Hydra's repository of files, which keeps what it has read: Hydra's own cache is that of one composition.

    Hydra copies the repository for each composition, and changes the configurations that it gets.
    """

    def __init__(self, repository: Any) -> None:
        self._repository = repository
        self._results: dict[str, bytes] = {}  # pickled: to unpickle takes a seventh of the time to copy
        self.config_exists = cache(repository.config_exists)
        self.group_exists = cache(repository.group_exists)

    def __deepcopy__(self, memo: object) -> "KeepingRepository":
        return self

    def load_config(self, config_path: str) -> Any:
        if config_path not in self._results:
            self._results[config_path] = pickle.dumps(self._repository.load_config(config_path))
        return pickle.loads(self._results[config_path])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)
