"""The workers' Python of one site: made where it is not there yet, on each host that a site is reached by."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType

from pilotage import steps
from pilotage.environments.recipe import Facts, Recipe
from pilotage.environments.store import Say, Store
from pilotage.errors import UnsupportedError
from pilotage.hosts.base import Host
from pilotage.paths import state_folder
from pilotage.sites.environments import Built, Venv


class Environment:
    """What a site says of its environment, as something that can be had on a host; see `hosts.far.Equipment`.

    Parameters
    ----------
    wanted: the site's ``environment``, its files as absolute paths.
    """

    def __init__(self, wanted: Built) -> None:
        self.wanted = wanted
        self._stores: list[Store] = []

    def store(self, host: Host, runs: str = "") -> Store:
        """Return where it is kept on a host; ``runs`` is the folder there in which runs have theirs."""
        if self.wanted.folder is not None:
            return Store(host, self.wanted.folder, runs)
        base = f"{runs}/environments" if host.place else str(state_folder() / "environments")
        return Store(host, base, runs)

    def recipe(self, facts: Facts, say: Say = lambda _: None) -> Recipe:
        """Return how it is made on such a host; may take long. Raises a PilotageError where it cannot be.

        Parameters
        ----------
        facts: what is known of the host.
        say: told what is being done.
        """
        made: Recipe = self._kind().recipe(self.wanted, facts, say)
        return made

    def bring(self, host: Host, label: str, runs: str = "", link: str = "") -> str:
        """Have it on a host; return its folder there. See `hosts.far.Equipment.bring`."""
        store = self.store(host, runs)
        self._stores.append(store)
        with steps.doing(label, f"looking for the workers' environment on {store.where}") as step:
            return store.ensure(self.recipe(store.facts(), step.now), link, step.now)

    def _kind(self) -> ModuleType:
        # What makes one kind is not imported for another: each has its own dependencies.
        name = f"pilotage.environments.{self.wanted.kind}"
        if importlib.util.find_spec(name) is None:
            raise UnsupportedError(
                f"environments of kind {self.wanted.kind!r} cannot be made yet", where="environment.kind"
            )
        return importlib.import_module(name)

    def words(self, prefix: str, folders: Sequence[str]) -> Sequence[str]:
        """Return the words that start Python of it. See `hosts.far.Equipment.words`."""
        if isinstance(self.wanted, Venv):
            return [f"{prefix}/bin/python"]
        found: Sequence[str] = self._kind().words(self.wanted, prefix, folders)
        return found

    def release(self) -> None:
        """Let others remove it."""
        for store in self._stores:
            store.release()
