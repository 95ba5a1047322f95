"""Where uv finds packages, for who has told only pip so; and words of either without anybody's password.

All of it goes by environment variables: a command line is everybody's to read, and an index's URL may have a password.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pilotage.paths import home

OF_UV = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")
TABLES = {"index", "index-url", "extra-index-url", "find-links", "no-index"}
"""Keys of uv's configuration that say where packages are."""
SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "proxy": ("ALL_PROXY", " "),
}
"""Settings of pip's, uv's variables for them, and what stands between several."""
ORDER = ("global", "install", ":env:")
"""Sections of pip's settings that are for installing, the later ones over the earlier ones."""


def index_environment(project: Path) -> dict[str, str]:
    """Return variables by which uv looks where pip does; none where the user, or the project's files, have told uv.

    Where pip is told of several indexes it takes the best of all, and so does uv then.
    """
    if _uv_is_told(project):
        return {}
    found: dict[str, str] = {}
    for (name, separator), value in ((SETTINGS[key], value) for key, value in _of_pip().items() if key in SETTINGS):
        # Values that pip has on one line or several are separated by white space.
        if name not in os.environ and value.strip():
            found[name] = separator.join(value.split())
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def without_secrets(text: str) -> str:
    """Return words with no user, password or query in any URL."""
    text = re.sub(r"(\w+://)[^/\s\"'`]*@", r"\1***@", text)
    return re.sub(r"(\w+://[^\s?\"'`]+)\?[^\s\"'`#]+", r"\1?***", text)


def _uv_is_told(project: Path) -> bool:
    if any(os.environ.get(name) for name in OF_UV):
        return True
    base = os.environ.get("XDG_CONFIG_HOME")
    user = Path(base) if base else home() / ".config"
    files = [user / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]
    for folder in (project, *project.parents):
        files += [folder / "uv.toml", folder / "pyproject.toml"]
    return any(_names_an_index(file) for file in files)


def _names_an_index(file: Path) -> bool:
    try:
        told = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        return False
    if file.name == "pyproject.toml":
        told = told.get("tool", {}).get("uv", {})
    return not TABLES.isdisjoint([*told, *told.get("pip", {})])


def _of_pip() -> Mapping[str, str]:
    """Return pip's settings for installing, by their names."""
    try:
        command = [sys.executable, "-m", "pip", "config", "list"]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):  # there is no pip
        lines = [f":env:.{name[4:].lower().replace('_', '-')}={value!r}" for name, value in _variables()]
    found: dict[str, str] = {}
    for section in ORDER:
        for line in lines:
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                found[key[len(section) + 1 :]] = _value(value)
    return found


def _variables() -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in os.environ.items() if name.startswith("PIP_"))


def _value(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text
