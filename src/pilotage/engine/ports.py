"""A port that is known, and kept, before the interchange listens at it."""

from __future__ import annotations

import contextlib
import random
import socket

from pilotage import system

TRIES = 100


def reserve(address: str | None, ports: tuple[int, int] | None) -> socket.socket | None:
    """Return a socket that keeps a port for the interchange until it is closed; None where there can be none.

    It is bound without leave to share the port, and gets that afterwards: so whoever asks in this way too is refused,
    and ZeroMQ, which always asks to share, is not, as long as nobody listens there. Other systems than Linux see it
    differently.

    Parameters
    ----------
    address: the interchange's, an IP literal; None for all.
    ports: the least one, and one more than the largest.
    """
    if not system.linux() or ports is None:
        return None
    for _ in range(TRIES):
        kept = _socket(address)
        try:
            kept.bind((address or "", random.randrange(*ports)))  # noqa: S311  not for secrets
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except (OSError, ValueError):
            kept.close()
        else:
            return kept
    return None


def may_listen(address: str | None, port: int) -> bool:
    """Return whether this process may listen at a port that its driver has reserved."""
    with _socket(address) as tried, contextlib.suppress(OSError):
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind((address or "", port))
        tried.listen(1)
        return True
    return False


def _socket(address: str | None) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in (address or "") else socket.AF_INET)
