"""What is said to a host's shell, and what its words and ssh's mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError

LOST = 255
"""The exit code of an ssh that has lost its connection, or never had one."""
HELD = 'echo "$1"; stat -c %s / >/dev/null 2>&1 && echo gnu || echo bsd; echo "$1"; exec cat >/dev/null'
"""Hold a connection, and say what ``stat`` is there."""
LOOP = (
    'LC_ALL=C; export LC_ALL; secret=$1; d() { x=$(printf "%bx" "$1"); x=${x%x}; }; '
    'at() { d "$1"; p=$x; case $p in "~") p=$HOME;; "~/"*) p=$HOME/${p#??};; esac; }; '
    'while IFS= read -r line; do case $line in "$secret "*) ;; *) exit 1;; esac; eval "${line#* }"; done'
)
"""Run one line after the other, whose words ``d`` decodes, and ``at`` those that are paths."""
_KNOWN = re.compile(
    "No such file|Not a directory|Permission denied|not permitted|Read-only|No space|quota|Input/output|Stale|timed out"
    "|changed as|removed before|bytes have come"
)


def command_line(script: str, *words: str) -> str:
    """Return what a login shell there, of whatever kind, is given to run ``script`` with ``words`` as its arguments.

    A script has no single quote, exclamation mark, backslash or line break, which shells see differently.
    """
    return f"exec sh -c '{script}' sh {arguments(words)}"


def arguments(words: Iterable[str]) -> str:
    """Return words for any shell: of what is not plain, each byte is an escape that printf knows."""
    return " ".join(f"'{_encoded(word)}'" for word in words)


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
    if code < 0:
        return BrokenTransferError("the ssh that it came through was killed", where=url)
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
