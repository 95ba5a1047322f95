"""Read the YAML file of a conda environment, each value with the line that it stands on.

What conda itself reads is read: ``channels``, ``dependencies`` with a ``pip`` list in it, ``variables``. ``name`` and
``prefix`` say where conda would put it, and nothing here. A channel's password or token is kept apart from its name:
the name alone is shown, compared and written down.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from pilotage.errors import MissingExtraError, PilotageError, UsageError, did_you_mean
from pilotage.paths import expanded

if TYPE_CHECKING:
    import yaml

KEYS = ("name", "prefix", "channels", "dependencies", "variables")
_FORGE = "https://conda.anaconda.org"
_DEFAULTS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")
_SECRET_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")
_SECRET_TOKEN = re.compile(r"/t/[^/\s'\"]+(?=/|$)")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Entry:
    """A text of the file, and the line (from 1) that it stands on."""

    text: str
    line: int


@dataclass(frozen=True)
class Channel:
    """Where packages come from.

    Parameters
    ----------
    url: without what is secret in it, and without a slash at its end.
    private: as it has to be asked.
    """

    url: str
    private: str = field(repr=False, compare=False)


@dataclass(frozen=True)
class CondaFile:
    """What a YAML file asks for.

    Parameters
    ----------
    path: where it is.
    channels: the first one counts most.
    dependencies: match specs of conda packages.
    pip: requirements that pip would install afterwards.
    variables: of the environment's processes.
    """

    path: Path
    channels: tuple[Channel, ...]
    dependencies: tuple[Entry, ...]
    pip: tuple[Entry, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def where(self, entry: Entry) -> str:
        """Return the place of an entry, as errors tell it."""
        return f"{self.path}:{entry.line}"


def missing_extra(error: ImportError) -> MissingExtraError:
    """Return the error for a package of the extra that is not there."""
    return MissingExtraError(
        f"environments of conda packages need {error.name}, which is not installed",
        hint="pip install 'pilotage[conda]'",
    )


def hide(text: str) -> str:
    """Return ``text`` without the passwords and tokens of the URLs in it."""
    return _SECRET_TOKEN.sub("/t/***", _SECRET_USER.sub("***@", text))


def read(path: Path) -> CondaFile:
    """Read a YAML file; raises UsageError with file, line and hint, and MissingExtraError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError("cannot be read: it is not UTF-8", where=str(path)) from error
    return parse(text, path)


def parse(text: str, path: Path) -> CondaFile:
    """Return what the ``text`` of the file ``path`` asks for; raises as `read` does."""
    try:
        import yaml
    except ImportError as error:
        raise missing_extra(error) from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:  # its own text quotes the line, which may have a password in it
        mark = error.problem_mark or error.context_mark
        raise UsageError(
            f"is not YAML: {error.problem or error.context}",
            where=f"{path}:{mark.line + 1}" if mark else str(path),
            hint="YAML indents by spaces; a text with ': ' or ' #' in it needs quotes",
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError("is not YAML: it has characters or depths that YAML has not", where=str(path)) from error
    return _Reader(path, text).file(root)


class _Reader:
    """Goes through the nodes of a file."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.count("\n") + 1

    def error(self, message: str, node: yaml.Node | None, hint: str | None = None) -> PilotageError:
        line = f":{min(node.start_mark.line + 1, self.lines)}" if node is not None else ""
        return UsageError(message, where=f"{self.path}{line}", hint=hint)

    def file(self, root: Any) -> CondaFile:
        if root is None:
            raise self.error("is empty", None, "it needs channels: and dependencies:")
        found = dict(self.pairs(root, "the file"))
        for key, (key_node, _) in found.items():
            if key not in KEYS:
                hint = did_you_mean(key, KEYS) or f"it may have {', '.join(KEYS)}"
                raise self.error(f"{key!r} is not a key of a conda environment", key_node, hint)
        if "dependencies" not in found:
            raise self.error("has no dependencies", root, "add dependencies: with a list of packages")
        dependencies, pip = self.dependencies(found["dependencies"][1])
        channels = self.channels(found["channels"][1]) if "channels" in found else []
        if not channels:
            raise self.error("names no channel", root, "add channels: [conda-forge]; none is taken for granted")
        variables = self.variables(found["variables"][1]) if "variables" in found else {}
        return CondaFile(self.path, tuple(channels), tuple(dependencies), tuple(pip), variables)

    def pairs(self, node: Any, what: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
        import yaml

        if not isinstance(node, yaml.MappingNode):
            raise self.error(f"{what} is not a table of keys and values", node)
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(f"a key of {what} is not a text", key)
            if key.value in seen:
                raise self.error(f"{key.value!r} stands there twice", key)
            seen.add(key.value)
            yield key.value, (key, value)

    def items(self, node: Any, what: str) -> list[Any]:
        import yaml

        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(f"{what} is not a list", node, "begin each entry with '- '")
        return list(node.value)

    def text(self, node: Any, what: str) -> str:
        import yaml

        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
            hint = "a text with ': ' in it needs quotes" if isinstance(node, yaml.MappingNode) else None
            raise self.error(f"{what} is not a text", node, hint)
        value = str(node.value).strip()
        if not value or not value.isprintable():
            raise self.error(f"{what} is empty or has characters that cannot be printed", node)
        return value

    def channels(self, node: Any) -> list[Channel]:
        channels: list[Channel] = []
        for item in self.items(node, "channels"):
            text = self.text(item, "a channel")
            if text == "nodefaults":  # nothing stands for itself here, so there is nothing to leave out
                continue
            for channel in self.channel(text, item):
                if channel not in channels:
                    channels.append(channel)
        return channels

    def channel(self, text: str, node: Any) -> list[Channel]:
        if text == "defaults":
            return [Channel(url, url) for url in _DEFAULTS]
        text = _VARIABLE.sub(lambda match: self.variable(match, node), text)
        if text.startswith((".", "/", "~")):
            text = (self.path.parent / expanded(text)).resolve().as_uri()
        elif "://" not in text:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", text):
                shown = text.rpartition("@")[2]  # before it there may be a password
                raise self.error(f"{shown!r} names no channel", node, "a channel is a name, a URL or a folder")
            text = f"{_FORGE}/{text}"
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("https", "http", "file", "oci", "s3") and (parts.netloc or parts.scheme == "file")
            host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
        except ValueError:
            good = False
        if not good or set("?# ") & set(text):
            raise self.error(
                "the URL of a channel is not one that conda could ask", node, "https://HOST/CHANNEL, file:///FOLDER"
            )
        path = re.sub(r"^/t/[^/]+(?=/|$)", "", parts.path).rstrip("/")
        if parts.scheme == "file":
            path = quote(unquote(path))
        return [Channel(f"{parts.scheme}://{host}{path}", text.rstrip("/"))]

    def variable(self, match: re.Match[str], node: Any) -> str:
        name = match.group(1) or match.group(2)
        if name not in os.environ:
            raise self.error(f"a channel needs the variable {name}, which is not set", node, f"export {name}")
        return os.environ[name]

    def dependencies(self, node: Any) -> tuple[list[Entry], list[Entry]]:
        import yaml

        specs: list[Entry] = []
        pip: list[Entry] = []
        for item in self.items(node, "dependencies"):
            if not isinstance(item, yaml.MappingNode):
                specs.append(self.entry(item, "a dependency"))
                continue
            for key, (key_node, value) in self.pairs(item, "a dependency"):
                if key != "pip":
                    raise self.error(
                        f"{key!r} is no list of packages that conda knows: pip is the only one",
                        key_node,
                        "a spec with ': ' in it needs quotes",
                    )
                pip += [self.entry(one, "a requirement for pip") for one in self.items(value, "pip")]
        return specs, pip

    def entry(self, node: Any, what: str) -> Entry:
        return Entry(self.text(node, what), node.start_mark.line + 1)

    def variables(self, node: Any) -> dict[str, str]:
        import yaml

        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return {}
        found: dict[str, str] = {}
        for key, (key_node, value) in self.pairs(node, "variables"):
            if not _NAME.fullmatch(key):
                raise self.error(f"{key!r} cannot be the name of a variable", key_node)
            if not isinstance(value, yaml.ScalarNode):
                raise self.error(f"the variable {key} is not a text", value)
            if "\0" in value.value:
                raise self.error(f"the variable {key} has a NUL in it", value)
            found[key] = value.value
        return found
