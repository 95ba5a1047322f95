"""What every built-in site would start, held in golden files; ``make golden`` writes them anew."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pilotage import system
from pilotage.assembly.export import export
from pilotage.assembly.importing import import_executors
from pilotage.assembly.rendering import PLACEHOLDERS, render
from pilotage.sites import overrides
from pilotage.sites.catalogue import Catalogue
from pilotage.worker import expected

GOLDEN = Path(__file__).parent / "golden"
SITES = Catalogue.load().names()
PYTHON = "/opt/python/bin/python3"


@pytest.fixture(autouse=True)
def machine_of_eight_cores(project, monkeypatch):
    monkeypatch.setattr(system, "usable_cores", lambda: 8)
    monkeypatch.setattr("sys.executable", PYTHON)
    monkeypatch.setattr(expected, "driver", lambda: {"python": "3.11", "parsl": "2026.11.9", "pilotage": "0.1.0"})


def check(name, text):
    path = GOLDEN / name
    if os.environ.get("PILOTAGE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no golden file: make golden, and read {path}"
    assert text == path.read_text()


@pytest.mark.parametrize("name", SITES)
def test_golden_script(name):
    rendering = render(Catalogue.load().resolve(name), PYTHON)
    if rendering.script is None:
        assert name == "threads"
        return
    kubernetes = rendering.scheduler == "kubernetes"
    check(f"{name}.{'yaml' if kubernetes else 'sh'}", rendering.script)
    assert "@job_name@" in rendering.script
    if not kubernetes:
        done = subprocess.run(["bash", "-n"], input=rendering.script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["kind", "kubernetes"])
def test_a_shell_accepts_the_command_in_the_manifest(name):
    import yaml

    manifest = yaml.safe_load(render(Catalogue.load().resolve(name), PYTHON).script)
    command = manifest["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:2] == ["bash", "-c"]
    done = subprocess.run(["bash", "-n"], input=command[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_golden_worker_commands():
    commands = {name: render(Catalogue.load().resolve(name), PYTHON).worker_command for name in SITES}
    check("worker_commands.json", json.dumps(commands, indent=1) + "\n")
    for name, command in commands.items():
        if name != "threads":
            # A placeholder is a whole word to the shell: nothing of it is expanded.
            known = {"@job_name@", *(["@address@"] if "-lab" in name or name == "ssh-pool" else [])}
            assert all(placeholder in command for placeholder in PLACEHOLDERS if placeholder not in known)


def test_golden_export():
    # The interface bond0 is only there on Polaris: it is looked up where the module is loaded.
    text = export(Catalogue.load().resolve("polaris", overrides.parse(["account=physics"])))
    versions = [line for line in text.splitlines() if line.startswith("# Parsl: ")]
    check("polaris_export.py.txt", text.replace(versions[0], "# Parsl: @version@"))


@pytest.mark.parametrize(
    ("name", "given"),
    [("laptop", ["environment.kind=venv"]), ("slurm", ["partition=p", "environment.kind=conda", "environment.file=x"])],
)
def test_an_export_has_no_environment_that_only_we_can_make(name, given):
    text = export(Catalogue.load().resolve(name, overrides.parse(given)))
    compile(text, "exported", "exec")
    assert f"launch_cmd='{sys.executable} -P -m parsl." in text
    assert "pilotage-environment" not in text
    assert "# - environment.kind = " in text


def test_golden_import(project):
    """Two pools of the older form, as sites and as what they would start."""
    source = Path(__file__).parents[1] / "sites" / "executors.json"
    imported = import_executors(source, project=True, force=False, keep_going=False, dry_run=False)
    check("executors.toml", imported.text + "\n")
    catalogue = Catalogue.load()
    for name in ("myexecutor_1", "myexecutor_2"):
        check(f"{name}.sh", render(catalogue.resolve(name), PYTHON).script)
