"""On which line of a TOML text each key stands.

tomllib reads values without their places. Rather than a second TOML parser, the text is cut into statements by
tomllib itself: a statement is the shortest run of lines that tomllib accepts, read under the table header above
it. Its keys then stand on its first line.
"""

from __future__ import annotations

import tomllib
from typing import Any

Path = tuple[str, ...]


def key_lines(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every table and key of ``text``, which must be valid TOML.

    A path is the tuple of the key and the tables around it. Of a key that stands twice (an array of tables), the
    first place counts.
    """
    lines: dict[Path, int] = {}
    header: Path = ()
    start, pending = 0, ""
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines() knows more ends than TOML
        if not pending:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            start = number
        pending += line + "\n"
        try:
            parsed = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        is_header = pending.lstrip().startswith("[")
        pending = ""
        if is_header:
            header = _header_path(parsed)
            _note(lines, header, start)
        else:
            for path in _paths(parsed):
                _note(lines, header + path, start)
    return lines


def _note(lines: dict[Path, int], path: Path, line: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _header_path(parsed: dict[str, Any]) -> Path:
    path: Path = ()
    node: Any = parsed
    while isinstance(node, (dict, list)) and node:
        if isinstance(node, list):  # [[array of tables]]
            node = node[0]
            continue
        key, node = next(iter(node.items()))
        path += (key,)
    return path


def _paths(parsed: dict[str, Any]) -> list[Path]:
    found: list[Path] = []
    for key, value in parsed.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *path) for path in _paths(value)]
    return found
