"""Parsl's executor, whose launch commands hold folders as a shell needs them."""

from __future__ import annotations

import shlex
from typing import Any

from pilotage.engine.answering import AnsweringExecutor


class QuotingExecutor(AnsweringExecutor):
    """Parsl's executor, whose folders may be called anything; the arguments are Parsl's."""

    _composing = False

    def initialize_scaling(self) -> None:
        """Compose the launch command, with folders quoted for the shell, which Parsl leaves to luck."""
        plain: Any = self.cert_dir, self.logconf_path
        quoted: Any = [_for_shell(path) for path in plain]
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
        return _for_shell(folder) or folder if self._composing else folder


def _for_shell(path: str | None) -> str | None:
    # Parsl fills the command in once more for each block, where a brace would be a field.
    return None if path is None else shlex.quote(path).replace("{", "{{").replace("}", "}}")
