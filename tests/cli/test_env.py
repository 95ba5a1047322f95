"""``pilotage env``, with an environment that is built of nearly nothing."""

import json
import os
import shlex
import sys
import time
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest

from pilotage.environments import venv
from pilotage.environments.recipe import Recipe
from pilotage.errors import UsageError
from pilotage.runs import shapes

BUILD = f"""
mkdir bin; printf '#!/bin/sh\\nexec %s "$@"\\n' {shlex.quote(sys.executable)} > bin/python; chmod +x bin/python
"""


@pytest.fixture
def toy(monkeypatch):
    """What a site's venv is made by; its ``content`` may be changed."""
    made = {"word": "a word"}
    expected = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "parsl": metadata.version("parsl")}

    def recipe(wanted, facts, say):
        say(f"finding what is wanted for {facts.platform}")
        return Recipe("venv", "a toy", dict(made), {}, BUILD, expected=expected)

    monkeypatch.setattr(venv, "recipe", recipe)
    return made


VENV = ("--set", "environment.kind=venv")


def told(pilotage, *words, code=0):
    done = pilotage.ask("env", *words, "--json")
    assert done.returncode == code, done.stderr
    value = json.loads(done.stdout)
    jsonschema.validate(value, shapes.schema(f"env-{words[0]}"))
    return value["hosts"][0]


def test_an_environment_from_the_first_look_to_its_end(toy, pilotage, private_home):
    shown = told(pilotage, "show", "laptop", *VENV)
    assert (shown["kind"], shown["title"], shown["built"]) == ("venv", "a toy", False)
    assert shown["path"] == f"{private_home}/state/environments/{shown['digest']}"
    assert shown["python"] == f"{shown['path']}/bin/python"
    assert shown["packages"]["parsl"] == metadata.version("parsl")
    missing = told(pilotage, "verify", "laptop", *VENV, code=1)
    assert missing["problem"] == "it is not there yet: pilotage env build laptop"
    assert told(pilotage, "build", "laptop", *VENV) == {
        "host": "this machine",
        "error": None,
        **{key: shown[key] for key in ("path", "digest", "title")},
        "new": True,
    }
    assert told(pilotage, "build", "laptop", *VENV)["new"] is False
    assert told(pilotage, "show", "laptop", *VENV)["built"] is True
    assert told(pilotage, "verify", "laptop", *VENV)["problem"] is None
    (kept,) = told(pilotage, "list", "laptop")["environments"]
    assert (kept["digest"], kept["kind"], kept["title"], kept["runs"]) == (shown["digest"], "venv", "a toy", [])
    assert told(pilotage, "prune", "laptop")["removed"] == []
    long_ago = time.time() - 31 * 86400
    os.utime(f"{shown['path']}/.pilotage.json", (long_ago, long_ago))
    assert told(pilotage, "prune", "laptop") == {
        **{"host": "this machine", "error": None, "removed": [shown["digest"]], "kept": {}},
        "bytes": kept["bytes"],
    }
    assert not Path(shown["path"]).exists()


def test_one_that_is_named_is_removed_unless_it_is_used(toy, pilotage):
    from pilotage.environments.alone import hold

    digest = told(pilotage, "build", "laptop", *VENV)["digest"]
    toy["word"] = "another"
    other = told(pilotage, "build", "laptop", *VENV)
    use = hold(Path(other["path"]))
    assert told(pilotage, "prune", "laptop", digest, other["digest"]) == {
        **{"host": "this machine", "error": None, "removed": [digest], "bytes": pytest.approx(0, abs=1e6)},
        "kept": {other["digest"]: "a run uses it"},
    }
    os.close(use)


def test_where_one_is_named_no_other_is_removed(toy, pilotage):
    digest = told(pilotage, "build", "laptop", *VENV)["digest"]
    toy["word"] = "another"
    other = told(pilotage, "build", "laptop", *VENV)
    os.utime(f"{other['path']}/.pilotage.json", (0, 0))
    assert told(pilotage, "prune", "laptop", digest)["removed"] == [digest]
    assert Path(other["path"]).exists()
    done = pilotage.ask("env", "prune", "laptop", digest)
    assert done.returncode == 2
    assert f"there is no environment {digest}" in done.stderr


def test_what_is_required_beside_is_verified_too(toy, pilotage):
    require = ("--set", "environment.require=['no-such>=2']")
    told(pilotage, "build", "laptop", *VENV, *require)
    problem = told(pilotage, "verify", "laptop", *VENV, *require, code=1)["problem"]
    assert "has no no-such (needed: >=2)" in problem
    assert told(pilotage, "verify", "laptop", *VENV, "--set", "environment.require=['parsl>=1']")["problem"] is None


def test_what_has_changed_since_is_found(toy, pilotage):
    path = Path(told(pilotage, "build", "laptop", *VENV)["path"])
    (path / "bin" / "python").write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    assert told(pilotage, "verify", "laptop", *VENV, code=1)["problem"] == "it is broken"
    done = pilotage.ask("check", "laptop", *VENV, "--json")
    (finding,) = [one for one in json.loads(done.stdout)["sites"][0]["findings"] if one["probe"] == "environment"]
    assert (finding["status"], finding["message"]) == ("failed", "a toy on this machine: it is broken")
    assert finding["hint"].startswith(f"pilotage env prune laptop {path.name} removes it")


def test_what_is_said_to_people(toy, pilotage):
    shown = pilotage.ask("env", "show", "laptop", *VENV)
    assert shown.stdout.startswith("this machine: venv, a toy\n")
    assert "(not built yet)" in shown.stdout
    assert "finding what is wanted for linux-" in shown.stderr
    built = pilotage.ask("env", "build", "laptop", *VENV)
    assert built.stdout.startswith("this machine: a toy: built, /")
    assert "this machine: building a toy" in built.stderr
    assert pilotage.ask("env", "verify", "laptop", *VENV).stdout == "this machine: as it should be\n"
    assert "a toy" in pilotage.ask("env", "list", "laptop").stdout


def test_what_cannot_be_made_is_an_error(toy, pilotage, monkeypatch):
    def refused(*_):
        raise UsageError("no such packages", where="r.txt:3", hint="write others")

    monkeypatch.setattr(venv, "recipe", refused)
    done = pilotage.ask("env", "build", "laptop", *VENV)
    assert done.returncode == 2
    for words in ("r.txt:3", "no such packages", "write others"):
        assert words in done.stderr


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("threads",), 2, "'threads' has no environment: its tasks run in the driver"),
        (("kubernetes",), 2, "has no environment: its workers have their image"),
        (("laptop", "--set", "environment.kind=conda"), 2, "environment.file: missing required key 'file'"),
        (("laptop", *VENV, "--set", "environment.requirement=x"), 2, "did you mean 'requirements'?"),
        (("laptop", "--set", "environment.folder=/x"), 2, "missing required key 'kind'"),
        (("laptop", *VENV, "--set", "environment.requirements=none.txt"), 2, "there is no "),
        (("laptop", *VENV, "--set", "environment.requirements=~nobody-here/r.txt"), 2, "there is no "),
        (("laptop", *VENV, "--set", f"environment.requirements={300 * 'x'}"), 2, "there is no "),
        (("laptop", *VENV, "--set", f"python={sys.executable}"), 2, "leave one out"),
        (("laptop", "--set", "environment.kind=venf"), 2, "did you mean 'venv'?"),
        (("no-such",), 2, "no-such"),
    ],
)
def test_bad_input(pilotage, given, code, words):
    done = pilotage.ask("env", "show", *given)
    assert done.returncode == code
    assert words in done.stderr


def test_a_python_that_is_there_is_shown_and_verified(pilotage, tmp_path):
    shown = told(pilotage, "show", "laptop", "--set", "environment.kind=command", "--set", "environment.activate=x=1")
    assert (shown["kind"], shown["digest"], shown["python"], shown["activation"]) == ("command", None, "python3", "x=1")
    assert told(pilotage, "verify", "laptop")["problem"] is None
    assert told(pilotage, "build", "laptop")["path"] is None
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "python3").write_text("#!/bin/sh\necho it has no parsl >&2; exit 1\n")
    (fake / "python3").chmod(0o755)
    wrong = ("--set", "environment.kind=command", "--set", f"environment.activate=no-such-command; PATH={fake}:$PATH")
    problem = told(pilotage, "verify", "laptop", *wrong, code=1)["problem"]
    assert "it has no parsl (before, the site's shell lines said: " in problem
    assert "no-such-command: command not found" in problem
    (fake / "mine").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (fake / "mine").chmod(0o755)
    activate = ("--set", "environment.kind=command", "--set", "environment.python=mine")
    lines = ("--set", f"environment.activate=PATH={fake}:$PATH")
    assert told(pilotage, "verify", "laptop", *activate, *lines)["problem"] is None
    problem = told(
        pilotage, "verify", "laptop", *activate, *lines, "--set", "environment.require=['no-such>=2']", code=1
    )
    assert "has no no-such (needed: >=2)" in problem["problem"]
