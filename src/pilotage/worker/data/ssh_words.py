"""What is said to a host's shell, and what its words and ssh's mean."""

from __future__ import annotations

import os
import re

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError

LOST = 255
"""The exit code of an ssh that has lost its connection, or never had one."""
BEGIN = (
    'LC_ALL=C; export LC_ALL; mark=$1; shift; echo "$mark"; echo "$mark" >&2; '
    'd() { x=$(printf "%bx" "$1"); x=${x%x}; }; '
    'at() { d "$1"; p=$x; case $p in "~") p=$HOME;; "~/"*) p=$HOME/${p#??};; esac; }; '
)
"""What each script begins with: a line with its mark, before which a login script may talk; ``d`` and ``at`` decode."""
_KNOWN = re.compile(
    "No such file|Not a directory|Permission denied|not permitted|Read-only|No space|quota|Input/output|Stale|timed out"
    "|changed as|removed before|bytes have come"
)


def command_line(script: str, *words: str) -> str:
    """Return what a login shell there, of whatever kind, is given to run ``script`` with ``words`` as its arguments.

    A script has no single quote, exclamation mark, backslash or line break, which shells see differently. Words are
    plain, or decoded there by ``d``: of what is not plain, each byte is an escape that printf knows.
    """
    return " ".join(["exec", "sh", "-c", f"'{script}'", "sh", *(f"'{_encoded(word)}'" for word in words)])


def _encoded(word: str) -> str:
    return re.sub(rb"[^A-Za-z0-9/._,:=+@~ -]", lambda found: b"\\0%03o" % found[0][0], os.fsencode(word)).decode()


def refusal(code: int, words: str, said: bytes, url: str) -> DataError:
    """Return the error of an ssh that has ended before, or while, anything moved."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    last = lines[-1] if lines else "the connection has ended"
    if "Host key verification failed" in words:
        hint = "if the machine is new, accept its key once by hand with ssh; if it is not, ask its staff"
        return DeniedError("its host key is not the known one", where=url, hint=hint)
    if "Permission denied" in last or "authentication" in last.lower():
        hint = "what runs here must be let in without a person: a key or an agent, and ssh with BatchMode=yes shows it"
        return DeniedError(f"ssh: {last}", where=url, hint=hint)
    if "Could not resolve hostname" in last and "Temporary" not in last:
        return DataError(f"ssh: {last}", where=url)
    if code != LOST:
        answer = said.decode(errors="replace").strip()[-200:] or (lines[-1] if lines else f"exit code {code}")
        hint = "a POSIX sh, cat and tar are needed there"
        return DeniedError(f"no shell runs our commands there: {answer}", where=url, hint=hint)
    return BrokenTransferError(f"ssh: {last}", where=url)


def told_by(words: str, url: str) -> DataError:
    """Return the error that a command's words on the far side mean; they are in English, which BEGIN asks for."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    said = next((line for line in lines if _KNOWN.search(line)), lines[-1] if lines else words)
    if re.search(r"No such file or directory|Not a directory", said):
        return NotThereError(f"there is no such file or folder: {said}", where=url)
    if re.search(r"Permission denied|not permitted|Read-only", said):
        return DeniedError(said, where=url)
    if re.search(r"No space left|quota exceeded", said):
        return DataError(f"cannot be written: {said}", where=url, hint="make room there")
    if re.search(r"Input/output error|Stale|timed out|changed as we read|removed before|bytes have come", said):
        return BrokenTransferError(said, where=url)
    return DataError(said, where=url)
