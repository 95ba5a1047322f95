"""Reads the ``meta.yaml`` files of MLflow's file stores: one flat mapping of scalars, as PyYAML dumps it.

A YAML library would be a dependency for these files alone. What such a file never holds (anchors, nested mappings,
block scalars, types by tag) is refused, not guessed.
"""

from __future__ import annotations

import json
import re

Scalar = str | int | float | bool | None

SPACE = " \t\n\x85\u2028\u2029"
"""What separates in YAML: much less than what Python takes for space."""
KEY = re.compile(rf"([A-Za-z_][\w.-]*):(?:[{SPACE}]+(.*))?$", re.DOTALL)
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)$")
BREAKS = re.compile("[ \t]*([\n\x85\u2028\u2029][ \t]*)+")
REAL = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?$")
WORDS: dict[str, Scalar] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    ".nan": float("nan"),
    ".inf": float("inf"),
    "-.inf": float("-inf"),
}
ESCAPES = {"0": "\0", "a": "\a", "e": "\x1b", "v": "\v", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}
HEX = {"x": 2, "u": 4, "U": 8}


def read(text: str) -> dict[str, Scalar | list[Scalar]]:
    """Return the mapping in ``text``; the value of a key is a scalar, or an empty list. Raises ValueError."""
    found: dict[str, Scalar | list[Scalar]] = {}
    for number, statement in _statements(text):
        match = KEY.match(statement)
        if match is None:
            raise ValueError(f"line {number}: not `key: value`")
        key, value = match[1], match[2] or ""
        try:
            found[key] = [] if value.strip(SPACE) == "[]" else _scalar(value)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return found


def _statements(text: str) -> list[tuple[int, str]]:
    """Return each key with its value; the value goes on where a line is indented or empty, as in a folded scalar."""
    found: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if line.startswith("#") or line in ("---", "..."):
            continue
        if found and (not line or line[0] in " \x85\u2028\u2029"):
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{line}")
        elif line:
            found.append((number, line))
    return found


def _scalar(value: str) -> Scalar:
    if value.startswith("'"):
        return _single_quoted(value.rstrip(SPACE))
    if value.startswith('"'):
        return _double_quoted(value.rstrip(SPACE))
    if re.match(rf"[&*!|>%@`{{[]|[-?:]([{SPACE}]|$)", value):
        raise ValueError(f"{value.split()[0]!r} is more than a scalar")
    if ": " in value or value.rstrip(SPACE).endswith(":"):
        raise ValueError("a mapping in a mapping")
    plain = _folded(value.rstrip(SPACE))
    lower = plain.lower()
    if lower in WORDS:
        return WORDS[lower]
    if INTEGER.match(plain):
        return int(plain.replace("_", ""))
    if REAL.match(plain):
        return float(plain.replace("_", ""))
    return plain


def _folded(value: str) -> str:
    """Return a value of several lines as one: a line break is a space, and of several the first is left out."""
    return BREAKS.sub(_one_break, value)


def _one_break(match: re.Match[str]) -> str:
    first, *rest = ("\n" if mark == "\x85" else mark for mark in match[0] if mark not in " \t")
    if first != "\n":
        return first + "".join(rest)
    return "".join(rest) or " "


def _single_quoted(value: str) -> str:
    inner = value[1:-1]
    if len(value) < 2 or not value.endswith("'") or "'" in inner.replace("''", ""):
        raise ValueError("a quote is not closed")
    return _folded(inner).replace("''", "'")


def _double_quoted(value: str) -> str:
    if len(value) < 2 or not value.endswith('"'):
        raise ValueError("a quote is not closed")
    # A backslash at the end of a line joins it to the next, whose own spaces begin after another backslash.
    inner = re.sub(r"(?<!\\)((?:\\\\)*)\\\n[ \t]*", r"\1", value[1:-1])
    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", _unescaped, _folded(inner), flags=re.DOTALL)


def _unescaped(match: re.Match[str]) -> str:
    letter, rest = match[1][0], match[1][1:]
    if letter in HEX and rest:
        return chr(int(rest, 16))
    if letter in ESCAPES:
        return ESCAPES[letter]
    if letter in "bfnrt":
        return str(json.loads(f'"\\{letter}"'))
    if letter in ' "/\\\t':
        return letter
    raise ValueError(f"\\{letter} is no escape")
