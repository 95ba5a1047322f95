"""Every command and snippet in README and docs runs."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from perf import made_up, old_store
from pilotage.cli import main
from pilotage.perf import folder as records

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SQUARES = next(text for kind, text in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "python")


def blocks(kind):
    found = []
    for page in PAGES:
        texts = [text for k, text in BLOCK.findall(page.read_text()) if k == kind]
        found += [pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}") for i, text in enumerate(texts)]
    return found


@pytest.fixture
def folder(project):
    (project / "squares.py").write_text(SQUARES)
    (project / "script.py").write_text("import parsl\nparsl.load()\nprint(parsl.python_app(lambda: 1)().result())\n")
    (project / "examples").symlink_to(ROOT / "examples")
    old_store.make(project / "mlruns")
    for day in (20, 21):
        records.write(made_up.record(f"aaaa-{day}", day=day), project)
    return project


def commands(text):
    """Yield (command, output lines) of a console block; lines after a command are its output."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return found


@pytest.mark.parametrize("text", blocks("console"))
def test_commands_run_and_print_what_is_shown(text, folder, pilotage):
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if "pilotage attach" in text:  # what is attached to has to go on until then
        script = folder / "script.py"
        script.write_text(f"{script.read_text()}import time\ntime.sleep(10)\n")
    for command, shown in commands(text):
        done = pilotage.run(["bash", "-c", command], env=path)
        assert done.returncode == 0, (command, done.stderr)
        if shown:
            assert done.stdout.splitlines() == shown, command
        assert done.stdout or done.stderr, command


@pytest.mark.parametrize("text", blocks("python"))
def test_python_snippets_run(text, folder, pilotage):
    (folder / "snippet.py").write_text(text)
    done = pilotage.run([sys.executable, "snippet.py"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("toml"))
def test_site_snippets_are_valid(text, folder, pilotage, user_file):
    beside = user_file(text).parent
    sites = tomllib.loads(text)["site"]
    for site in sites.values():  # files that an environment is made of have to be there
        environment = site.get("environment", {})
        for key in {"requirements", "file", "definition"} & set(environment):
            (beside / environment[key]).touch()
    done = pilotage.ask("site", "validate", *sites)
    assert done.returncode == 0, done.stderr


def test_the_shown_mistake_is_told_as_shown(folder, pilotage, user_file):
    page = (ROOT / "README.md").read_text()
    shown = re.search(r"^    \$ (pilotage run squares.py --site lab .*)\n((?:    .*\n|\n)+)", page, re.MULTILINE)
    user_file(next(text for kind, text in BLOCK.findall(page) if kind == "toml"))
    done = pilotage(*shlex.split(shown.group(1))[1:])
    expected = "\n".join(line.removeprefix("    ") for line in shown.group(2).rstrip().splitlines())
    assert done.stderr.rstrip() == expected


def lines_for_people():
    """Return the commands in docs that are not run here: they need a cluster, a server, or never end."""
    return [
        pytest.param(line.partition("  #")[0], id=f"{page.name}-{line[:60]}")
        for page in PAGES
        for line in re.findall(r"^    (?:\$ )?(pilotage .*)$", page.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("line", lines_for_people())
def test_commands_that_are_not_run_here_exist_with_their_options(line):
    words = shlex.split(line)[1:]
    command, context = main, click.Context(main)
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.get_command(context, name)
        assert command is not None, name
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
    assert used <= known


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("name", ["commands", "sites"])
def test_the_reference_is_generated_from_the_code(name):
    """``make reference`` writes it anew."""
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "reference" / "make.py", name], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert (ROOT / "docs" / "reference" / f"{name}.md").read_text() == made.stdout


def test_every_command_is_in_the_reference():
    text = (ROOT / "docs" / "reference" / "commands.md").read_text()
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert f"`pilotage {name}`" in text
        for inner in getattr(command, "commands", {}):
            assert f"`pilotage {name} {inner}`" in text
