"""Grants: what lets a node read or write one file or folder of the driver's, and nothing else.

::

    grants = executor.grants            # None where the executor has no channel for files
    options = {"grant": grants.grant("/home/me/input", "read")}
    open_store(place_of("driver:/home/me/input"), options)      # on the worker

The key is made with the executor, and lives as long; the interchange reads it from a file that is then removed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

from pilotage.errors import DeniedError, UsageError
from pilotage.worker.data.wire import Granted, Mode, granted, told

KEY = 32
"""Bytes of a key."""


class Grants:
    """Makes grants and checks them.

    Parameters
    ----------
    key: what both sides know and nobody else; a new one where there is none.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.key = key or secrets.token_bytes(KEY)

    def __repr__(self) -> str:
        return "Grants()"  # the key is for no log

    def grant(self, path: str | os.PathLike[str], mode: Mode) -> str:
        """Return a token with which a node may read or write a file, or a folder with all that is in it.

        Parameters
        ----------
        path: on this machine; one that is not absolute begins in the current folder. It need not be there.
        mode: ``read`` or ``write``; neither includes the other.
        """
        if mode not in ("read", "write"):
            raise UsageError(f"{mode!r} is neither read nor write")
        text = told(mode, os.path.abspath(path))  # noqa: PTH100  no Path is needed
        return f"{text}.{self._proof(text)}"

    def checked(self, grant: object, mode: Mode) -> str:
        """Return the path that a grant names. Raises DeniedError where it is not ours, or is for something else."""
        text, _, proof = grant.partition(".") if isinstance(grant, str) else ("", "", "")
        if not hmac.compare_digest(proof.encode(), self._proof(text).encode()):
            raise DeniedError("its driver has not granted that")
        found: Granted = granted(text)
        if found.mode != mode:
            raise DeniedError(f"its driver has granted to {found.mode} it, and not to {mode} it", where=found.path)
        return found.path

    def _proof(self, text: str) -> str:
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
