"""Parsl's executor, whose launch commands hold folders as a shell needs them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotage import events, steps
from pilotage.engine.verifying import VerifyingExecutor
from pilotage.errors import HostError
from pilotage.hosts.far import ENVIRONMENT, Equipment
from pilotage.hosts.local import LocalHost
from pilotage.sites.environments import PYTHON


class QuotingExecutor(VerifyingExecutor):
    """Parsl's executor, whose folders may be called anything; the arguments are Parsl's."""

    environment: Equipment | None = None
    prefix = ""
    _composing = False
    _sent: Mapping[str, str] = {}

    def start(self) -> None:
        """Make the run's folder and the workers' Python where they are, and start; see Parsl's.

        Raises HostError, BuildError.
        """
        far = self._far
        if far is not None:
            if far.code is not None:
                with steps.doing(self.label, "reading the script's modules"):
                    self._sent = far.code.take(getattr(self, "script_path", ()))
            far.environment = self.environment
            far.begin(Path(self.run_dir))
            far.bring()
            self.prefix = far.path(Path(self.run_dir) / ENVIRONMENT)
        elif self.environment is not None:
            self.prefix = self.environment.bring(LocalHost(), self.label)
        super().start()

    def _path_there(self, folders: Sequence[str]) -> list[str]:
        """Return where the workers have folders of this machine that the script imports from."""
        sent = {folder: self._there(os.path.join(self.run_dir, place)) for folder, place in self._sent.items()}  # noqa: PTH118
        more = [there for folder, there in sent.items() if there and folder not in folders]
        return [*(sent.get(folder) or folder for folder in folders), *more]

    def _with_python(self, command: str) -> str:
        """Return a launch command with the workers' Python in the place of the word that stands for it."""
        if self.environment is None:
            return command
        folders = [self._there(self.run_dir) or "", *self._path_there(getattr(self, "script_path", ()))]
        return command.replace(PYTHON, shlex.join(self.environment.words(self.prefix, folders)), 1)

    def _end_far(self) -> None:
        """Bring here what workers have logged elsewhere, and remove the run's folder there."""
        if self.environment is not None:
            self.environment.release()
        if self._far is not None:
            try:
                self._far.end()
            except HostError as error:  # the journal has it: whoever ends the run tries again
                events.tell("remote-folder-left", f"the run's folder is left for now: {error}", login=error.where)

    def initialize_scaling(self) -> None:
        """Compose the launch command, with folders quoted for the shell, which Parsl leaves to luck."""
        plain: Any = self.cert_dir, self.logconf_path
        far = self._far
        if far is not None:
            from pilotage.engine.sending import send

            keys = None if self.cert_dir is None else Path(self.cert_dir)
            files = [self.logconf_path] if self.logconf_path is not None else []
            files += [self._script] if self.verify else []
            send(Path(self.logdir), far, keys, [Path(file) for file in files])
        quoted: Any = [_for_shell(self._there(path)) for path in plain]
        self.cert_dir, self.logconf_path = quoted
        self._composing = True
        try:
            super().initialize_scaling()
        finally:
            self._composing = False
            self.cert_dir, self.logconf_path = plain

    @property
    def worker_logdir(self) -> str:
        """Folder of the workers' logs."""
        folder: str = super().worker_logdir
        return _for_shell(self._there(folder)) or folder if self._composing else folder

    def _there(self, path: str | None) -> str | None:
        """Return where a path of this machine is for the workers."""
        return path if path is None or self._far is None else self._far.path(path)


def _for_shell(path: str | None) -> str | None:
    # Parsl fills the command in once more for each block, where a brace would be a field.
    return None if path is None else shlex.quote(path).replace("{", "{{").replace("}", "}}")
