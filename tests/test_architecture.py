"""The layers of the house against the code: imports go down only, and siblings do not import each other."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "pilotage"

# From the top down. A line's rooms are siblings. A name is a folder or a file of the package.
LAYERS = [
    ["__main__"],
    ["cli"],
    ["output"],
    ["experiments", "perf"],
    ["check", "clusters"],
    ["runs"],
    ["assembly"],
    ["engine", "providers", "environments", "staging"],
    ["schedulers"],
    ["hosts"],
    ["worker"],
    ["journal", "events", "steps"],
    ["sites"],
    ["redaction", "statistics", "paths", "system"],
    ["errors"],
    ["__init__"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# What a room may import from outside the standard library and the package. None: anything.
OUTSIDE = {
    "errors": set(),
    "paths": set(),
    "redaction": set(),
    "statistics": set(),
    "system": {"psutil"},
    "sites": {"pydantic", "pydantic_core", "tomlkit"},
    "schedulers": {"jinja2", "markupsafe"},
    "hosts": set(),
    "worker": {"parsl", "zmq", "psutil", "cloudpickle", "tblib", "dill"}
    | {
        "fsspec",
        "obstore",
        "botocore",
        "google",
        "google_crc32c",
        "requests",
        "urllib3",
    },  # of stores, when one is opened
    "output": {"rich"},
    "cli": {"click"},
}
# Rooms that are pure: no process, no network.
PURE = {"sites", "schedulers", "errors"}
IMPURE_MODULES = {"subprocess", "socket", "multiprocessing", "http", "urllib", "ssl", "asyncio"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """Yield (line, dotted module) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            if node.module == "pilotage":
                yield from ((node.lineno, f"pilotage.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def violations(path):
    room = room_of(path)
    if room == "__init__":  # the facade: it names what it hands out, and imports it when asked
        return
    for line, module in imports(path):
        top, _, rest = module.partition(".")
        where = f"{path.relative_to(PACKAGE)}:{line}"
        if top == "pilotage":
            target = rest.split(".")[0]
            target = target if target in LEVEL else "__init__"  # a name of the package itself
            if target != room and LEVEL[target] <= LEVEL[room]:
                yield f"{where}: {room} imports {target}, which is not below it"
        elif top in sys.stdlib_module_names:
            if room in PURE and top in IMPURE_MODULES:
                yield f"{where}: {room} is pure, and imports {top}"
        elif OUTSIDE.get(room) is not None and top not in OUTSIDE[room]:
            yield f"{where}: {room} imports {top}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    assert not list(violations(path))


def test_every_room_has_its_place():
    assert {room_of(path) for path in modules()} <= set(LEVEL)


def test_the_rule_can_fail(tmp_path, monkeypatch):
    """A file of a low room that imports a high one, a sibling, or a process is caught."""
    bad = tmp_path / "sites" / "bad.py"
    bad.parent.mkdir()
    bad.write_text("import subprocess\nfrom pilotage.runs import run\nimport parsl\n")
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert len(list(violations(bad))) == 3


def test_only_output_prints():
    for path in modules():
        if room_of(path) == "output":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "print"), f"{path}:{node.lineno} prints"


def test_the_public_names_are_sorted_and_complete():
    import pilotage

    assert pilotage.__all__ == sorted(pilotage.__all__)
    for name in pilotage.__all__:
        assert getattr(pilotage, name) is not None
