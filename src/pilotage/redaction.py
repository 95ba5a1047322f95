"""Text without secrets: those with a name that says so, and those with the shape of one."""

from __future__ import annotations

import json
import re
from typing import Any

REMOVED = "[removed]"

_SHAPES = [
    (re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----[\s\S]*?-----END \1-----"), REMOVED),
    # Whose end is missing; `_without_torn_keys` looks for those without a beginning.
    (re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=:,\s-]|\\n)*"), f"{REMOVED}\n"),
    (re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"), REMOVED),
    (re.compile(r"(?<![A-Za-z0-9])(?:gh[a-z]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})"), REMOVED),
    (re.compile(r"(?<![A-Za-z0-9])(?:sk-[\w-]{20,}|hf_[A-Za-z0-9]{20,}|xox[a-z]-[\w-]{10,}|AIza[\w-]{30,})"), REMOVED),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), REMOVED),  # a JSON Web Token
    # What stands before a slash, and is a number, is a port.
    (re.compile(r"(://[^\s/@:\"']{0,200}:)(?!\d{1,5}[/?#]|\[removed\]@)[^\s\"']{1,1000}@"), rf"\1{REMOVED}@"),
]
_END_OF_KEY = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_LINE_OF_KEY = re.compile(r"[ \t]*[A-Za-z0-9+/=]+[ \t\r]*")
_BEARER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_WORDS = "key|token|secret|password|passwd|passphrase|credential|authorization|cookie"
_NAME_CHARACTERS = re.compile(r"[\w.-]")
_LONGEST_NAME = 80
# A name's end, and what may stand between it and its value: an equals sign, a colon, the "value" of a variable in a
# list, or, decided by what is before the name, a comma or a space.
_NAMED = re.compile(
    rf"(?:{_WORDS})[\w.-]{{0,{_LONGEST_NAME}}}+(?P<quote>\\*[\"'])?(?:"
    r"\]?[ \t]*(?:=>|:=|==?|:)[ \t]*"
    r"|,?\s{0,40}\\*[\"']?value\\*[\"']?[ \t]*:[ \t]*"
    r"|(?P<comma>,\s{0,40}(?=\\*[\"']))|(?P<space>[ \t]+))",
    re.IGNORECASE,
)
_SECRET_WORD = re.compile(r"(?:token|secret|password|passwd|passphrase|credential)s?|\w*(?:authorization|cookie)")
_ENDS_SECRET = re.compile(r"\w+(?:token|secret|password|passwd|passphrase|credentials?)")
_NO_KEYS = ("monkey", "turkey", "donkey", "hockey", "jockey", "whiskey")
_AFTER_KEY = ("id", "value", "data", "base", "b", "hex", "secret", "material")
_NO_SECRETS = ("", "none", "null", "nil", "true", "false", REMOVED)
_JOURNAL_KEY = re.compile(r"\d+\.\d+\.[0-9a-f]+")  # ours, see `pilotage.journal`
_LINE_BEGINNING = re.compile(r"[ \t>#+$-]*(?:(?:export|set|setenv|declare -x|typeset -x|-e|--env|ENV)[ \t]+)?")
_PREFIX = re.compile(r"[bBrRuUfF]{1,2}(?=[\"'])")
_TYPE = re.compile(r"[A-Za-z_][\w.\[\], |]{0,60}?[ \t]=[ \t]+")  # of a parameter, before its default
_NUMBER = re.compile(r"-?\d[\d.eE+-]*")


def redact_file(name: str, text: str) -> tuple[str, int]:
    """Return the text of a file without secrets, and how many there were; JSON stays JSON."""
    try:
        if name.endswith(".json"):
            value, count = _redact_json(json.loads(text))
            return (json.dumps(value, indent=1) + "\n", count) if count else (text, 0)
        if name.endswith(".jsonl"):
            lines = [_redact_line(line) for line in text.split("\n")]
            return "\n".join(line for line, _ in lines), sum(count for _, count in lines)
    except (ValueError, RecursionError):  # torn: text like any other
        pass
    return redact(text)


def _redact_line(line: str) -> tuple[str, int]:
    try:
        value, count = _redact_json(json.loads(line))
    except ValueError:
        return redact(line)
    return (json.dumps(value), count) if count else (line, 0)


def _redact_json(value: Any) -> tuple[Any, int]:
    """Return a JSON value without secrets, and how many there were."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        items, count = [], 0
        hides = False
        for item in value:
            made, removed = _emptied(item) if hides and isinstance(item, str) else _redact_json(item)
            hides = isinstance(item, str) and item.startswith("-") and _is_credential(item.lstrip("-"))
            items.append(made)
            count += removed
        return items, count
    if isinstance(value, dict):
        named = isinstance(value.get("name"), str) and _is_credential(value["name"])
        found, count = {}, 0
        for key, child in value.items():
            hides = _is_credential(key, child) or (named and key == "value")
            made, removed = _emptied(child) if hides else _redact_json(child)
            safe, more = redact(key)
            found[safe] = made
            count += removed + more
        return found, count
    return value, 0


def _emptied(value: Any) -> tuple[Any, int]:
    if isinstance(value, dict):
        value, count = _redact_json({key: _emptied(child)[0] for key, child in value.items()})
        return value, count + 1
    if isinstance(value, list):
        return [_emptied(item)[0] for item in value], len(value)
    if value is None or isinstance(value, bool) or str(value).lower() in _NO_SECRETS:
        return value, 0
    return REMOVED, 1


def redact(text: str) -> tuple[str, int]:
    """Return ``text`` without secrets, and how many there were; what holds none comes back as it is.

    Secrets are the values of what is called key, token, secret, password and the like (in a shell's, TOML's, YAML's,
    JSON's and Python's way of writing), and whatever has the shape of one, by whatever name.
    """
    count = 0
    for shape, instead in _SHAPES:
        text, removed = shape.subn(instead, text)
        count += removed
    text, torn = _without_torn_keys(text)
    text, named = _without_named(text)
    text, bearers = _BEARER.subn(rf"\g<1>{REMOVED}", text)
    return text, count + torn + named + bearers


def _without_torn_keys(text: str) -> tuple[str, int]:
    parts: list[str] = []
    done = 0
    for match in _END_OF_KEY.finditer(text):
        start = match.start()
        while start > done:
            line = text.rfind("\n", done, start - 1) + 1 or done
            if not _LINE_OF_KEY.fullmatch(text, line, start - 1 if text[start - 1] == "\n" else start):
                break
            start = line
        parts += [text[done:start], REMOVED]
        done = match.end()
    return "".join([*parts, text[done:]]), len(parts) // 2


def _without_named(text: str) -> tuple[str, int]:
    parts: list[str] = []
    done = count = 0
    for match in _NAMED.finditer(text):
        if match.start() < done:
            continue
        start, end = _value_of(text, match)
        if start < end:
            parts += [text[done:start], REMOVED]
            done = end
            count += 1
    return "".join([*parts, text[done:]]), count


def _value_of(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Return where the secret is that belongs to a name; an empty place where there is none."""
    nothing = match.end(), match.end()
    begin = match.start()
    while begin > max(0, match.start() - _LONGEST_NAME) and _NAME_CHARACTERS.match(text[begin - 1]):
        begin -= 1
    name = re.match(r"[\w.-]*", text[begin : match.end()])[0]  # type: ignore[index]  # it always matches
    escaped = begin > 0 and text[begin - 1] == "\\" and name[0] in "nrt"  # a line break in a string
    name = name[1:] if escaped else name
    before = text[max(0, begin - 40) : begin]
    on_command_line = name.startswith("-")
    if match["comma"] and not (on_command_line or re.search(r"\(\s*\\*[\"']\Z", before)):
        return nothing
    if match["space"] and not (on_command_line or re.search(r"\bsetenv\s+\Z", before)):
        return nothing
    at_line_start = escaped or _LINE_BEGINNING.fullmatch(before.rpartition("\n")[2]) is not None
    whole_line = (at_line_start and not on_command_line) or re.search("(?:authorization|cookie)$", name, re.I)
    start, end = _extent(text, match.end(), quoted=bool(match["quote"]), whole_line=bool(whole_line))
    return (start, end) if _is_credential(name.lstrip("-"), text[start:end]) else nothing


def _extent(text: str, start: int, *, quoted: bool, whole_line: bool) -> tuple[int, int]:
    """Return where the value begins and ends that is at ``start``; ``quoted`` says whether its name was."""
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    prefix = _PREFIX.match(text, start)
    at = prefix.end() if prefix else start
    for triple in ('"""', "'''"):
        if text.startswith(triple, at):
            end = text.find(triple, at + 3)
            return at + 3, end if end >= 0 else line_end
    opening = re.compile(r"\\*[\"']").match(text, at)
    if opening and (quoted or not whole_line):
        return opening.end(), _closing(text, opening, line_end)
    if text[at : at + 1] in tuple("[{") and (end := _balanced(text, at)):
        return at, end
    if whole_line and not quoted:
        return start, _block_end(text, start, line_end)
    if quoted:
        found = _NUMBER.match(text, at) or re.compile(r"[^\s,}\]]+").match(text, at)
        return at, found.end() if found else at
    if typed := _TYPE.match(text, at):
        return at, _extent(text, typed.end(), quoted=False, whole_line=False)[1]
    found = re.compile(r"\S+").match(text, at)
    end = found.end() if found else at
    while end > at + 1 and text[end - 1] in "\"'),;]}" and text[at:end] != REMOVED:
        end -= 1
    return at, end


def _closing(text: str, opening: re.Match[str], line_end: int) -> int:
    """Return where a string ends: before the mark it began with, or with its line where there is none."""
    mark = opening[0]
    at = opening.end()
    if len(mark) > 1:  # a string in a string: its own escapes have more backslashes
        found = re.compile(rf"(?<!\\){re.escape(mark)}").search(text, at, line_end)
        return found.start() if found else line_end
    found = re.compile(rf"(?:[^\\{mark}\n]|\\.)*+{mark}").match(text, at)
    return found.end() - 1 if found else line_end


def _balanced(text: str, start: int) -> int:
    """Return where a list or a table ends, 0 where it does not end soon."""
    depth = 0
    for match in re.compile(r"\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+'|[\[\]{}]").finditer(
        text, start, start + (1 << 16)
    ):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return 0


def _block_end(text: str, start: int, line_end: int) -> int:
    """Return the end of a line, or of the indented lines that YAML's ``|`` begins."""
    if not re.fullmatch(r"[|>][+-]?\s*", text[start:line_end]):
        return line_end
    line = text[text.rfind("\n", 0, start) + 1 : start]
    indent = len(line) - len(line.lstrip())
    found = re.compile(rf"(?:\n(?:[ \t]{{{indent + 1},}}[^\n]*|[ \t]*(?=\n)))+").match(text, line_end)
    return found.end() if found else line_end


def _is_credential(name: str, value: Any = "?" * 16) -> bool:
    """Return whether a name is that of a secret, given its value."""
    if value is None or isinstance(value, bool) or str(value).strip().strip("\"'").lower() in _NO_SECRETS:
        return False
    parts = [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    if not parts or parts[-1] in ("error", "exception", "warning"):
        return False
    if parts[-1] == "tokens" and re.fullmatch(r"\s*\d+\W*", str(value)):  # of a text, counted
        return False
    if any(_SECRET_WORD.fullmatch(part) or _ENDS_SECRET.fullmatch(part) for part in parts):
        return True
    if parts in (["key"], ["keys"]):
        # The word has many other uses.
        short = len(str(value)) < 16 or not re.fullmatch(r"\S+", str(value).strip())
        return name.isupper() or (parts == ["key"] and not short and not _JOURNAL_KEY.fullmatch(str(value)))
    for number, part in enumerate(parts):
        if part in ("key", "keys") and (name.isupper() or parts[number + 1 : number + 2] in _AFTER_OR_LAST):
            return True
        if part.endswith("key") and len(part) > 3 and part not in _NO_KEYS:
            return True
    return False


_AFTER_OR_LAST = ([], *([word] for word in _AFTER_KEY))
