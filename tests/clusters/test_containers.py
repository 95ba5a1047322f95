"""Clusters of containers: what is printed, and what Docker and kind are told. Neither is here: programs stand in."""

import json
import os
import stat
from pathlib import Path

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"
FAKE = """\
#!/bin/sh
# Notes its arguments and what it is given, and answers as it is told to.
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
    "create cluster"*) cat >> "$CALLS"; echo "Creating cluster ..." >&2; touch "$CALLS.kind";;
    "delete cluster"*) rm -f "$CALLS.kind";;
    "get clusters") [ -e "$CALLS.kind" ] && echo kind || echo "No kind clusters found." >&2;;
    *up*) echo "pulling" >&2;;
esac
case "$*" in
    $FAILS) echo "it is broken" >&2; exit 17;;
esac
"""


@pytest.fixture
def containers(pilotage, tmp_path):
    """Runs `pilotage cluster` where docker and kind are; `containers.calls()` are the commands they were given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("docker", "kind"):
        (programs / name).write_text(FAKE)
        (programs / name).chmod(0o755)
    calls = tmp_path / "calls"
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls), "PILOTAGE_CLUSTERS": str(tmp_path / "none")}

    def run(*arguments, fails="", **options):
        return pilotage("cluster", *arguments, env={**env, "FAILS": fails or "-"}, **options)

    def take():
        """Return what was called since, but the questions whether there is such a program."""
        found = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [line for line in found if not line.endswith(" version")]

    run.calls, run.programs, run.others = take, programs, Path(f"{calls}.kind")
    return run


@pytest.fixture
def kept(private_home):
    """Where what containers are made of is kept while they are up."""
    return private_home / "state" / "clusters"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["slurm", "--docker", "--nodes", "3"], "slurm-docker.yaml"),
        (["kind", "--nodes", "3"], "kind.yaml"),
    ],
)
def test_what_they_are_made_of(pilotage, private_home, arguments, name):
    """No Docker, no root and no Linux are needed to print it, and nothing is written."""
    done = pilotage("cluster", "up", *arguments, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    if os.environ.get("PILOTAGE_UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(done.stdout)
    assert done.stdout == (GOLDEN / name).read_text()
    assert not (private_home / "state").exists()
    asked = pilotage("cluster", "up", *arguments, "--dry-run", "--json")
    assert json.loads(asked.stdout) == {"text": done.stdout}


def test_the_compose_file_has_what_the_image_needs():
    made = yaml.safe_load((GOLDEN / "slurm-docker.yaml").read_text())
    services = made["services"]
    assert set(services) == {"mysql", "slurmdbd", "slurmctld", "cpu-worker"}
    assert services["cpu-worker"]["deploy"]["replicas"] == 3
    for name in ("slurmdbd", "slurmctld", "cpu-worker"):
        assert services[name]["image"].startswith("giovtorres/slurm-docker-cluster:")
        assert "etc_munge:/etc/munge" in services[name]["volumes"], "one key for all"
        assert services[name]["environment"]["COMPOSE_PROJECT_NAME"] == made["name"]
    assert not any("ports" in service for service in services.values()), "nothing is open to others"
    used = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert used == set(made["volumes"])


def test_kind_has_so_many_workers():
    made = yaml.safe_load((GOLDEN / "kind.yaml").read_text())
    assert [node["role"] for node in made["nodes"]] == ["control-plane", "worker", "worker", "worker"]
    assert (made["kind"], made["name"]) == ("Cluster", "kind"), "the context of the site `kind` is kind-kind"


def test_slurm_in_containers_comes_and_goes(containers, kept):
    file = kept / "slurm-docker" / "cluster.yaml"
    done = containers("up", "slurm", "--docker", "--nodes", "3")
    assert (done.returncode, done.stdout) == (0, "slurm --docker: started\n"), done.stderr
    assert "pulling" in done.stderr, "what takes long is seen"
    assert file.read_text() == (GOLDEN / "slurm-docker.yaml").read_text()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert containers.calls() == [f"docker compose --file {file} up -d"]
    assert containers("status").stdout.splitlines()[1].split() == ["slurm", "--docker", "in", "containers", "up"]

    done = containers("up", "slurm", "--docker", "--nodes", "3", "--quiet")
    assert (done.stdout, done.stderr) == ("slurm --docker: was up\n", "")
    assert containers.calls() == [f"docker compose --file {file} up -d"], "what is missing is started again"
    done = containers("up", "slurm", "--docker", "--nodes", "2")
    assert (done.returncode, "one of another shape is up" in done.stderr) == (1, True)
    assert containers.calls() == []

    assert containers("down", "slurm").stdout == "slurm: there was none\n"
    done = containers("down", "slurm", "--docker")
    assert (done.returncode, done.stdout) == (0, "slurm --docker: ended\n")
    assert containers.calls() == [f"docker compose --file {file} down --volumes --remove-orphans"]
    assert not kept.exists()
    assert containers("down", "slurm", "--docker").stdout == "slurm: there was none\n"
    assert containers.calls() == []


def test_kind_comes_and_goes(containers, kept):
    done = containers("up", "kind", "--nodes", "3")
    assert (done.returncode, done.stdout) == (0, "kind: started\n"), done.stderr
    told = (GOLDEN / "kind.yaml").read_text().splitlines()
    assert containers.calls() == ["kind get clusters", "kind create cluster --config -", *told]
    assert containers("up", "kind", "--nodes", "3").stdout == "kind: was up\n"
    assert containers.calls() == ["kind get clusters"], "it is there"
    containers.others.unlink()  # somebody has deleted it
    assert containers("up", "kind", "--nodes", "3").returncode == 0
    assert containers.calls()[1] == "kind create cluster --config -"
    assert containers("down").stdout == "kind: ended\n", "all that is up"
    assert containers.calls() == ["kind delete cluster --name kind"]
    assert not kept.exists()


def test_a_cluster_of_somebody_else_s_is_left_alone(containers, kept):
    containers.others.touch()
    done = containers("up", "kind")
    assert done.returncode == 1
    assert "already that was not started here" in done.stderr
    assert containers.calls() == ["kind get clusters"]
    assert containers("down", "kind").stdout == "kind: there was none\n"
    assert containers.calls() == []
    assert not kept.exists()


@pytest.mark.parametrize(
    ("arguments", "fails", "ended"),
    [
        (["slurm", "--docker"], "*up*", "docker compose --file {file} down --volumes --remove-orphans"),
        (["kind"], "create*", "kind delete cluster --name kind"),
    ],
)
def test_one_that_cannot_be_started_leaves_nothing(containers, kept, arguments, fails, ended):
    done = containers("up", *arguments, fails=fails)
    assert done.returncode == 1
    assert "exit code 17" in done.stderr
    assert "it is broken" in done.stderr
    file = kept / "slurm-docker" / "cluster.yaml"
    assert containers.calls()[-1] == ended.format(file=file)
    assert not kept.exists()


def test_one_that_cannot_be_ended_is_not_forgotten(containers, kept):
    assert containers("up", "kind").returncode == 0
    done = containers("down", "kind", "--quiet", fails="delete*")
    assert (done.returncode, "it is broken" in done.stderr) == (1, True)
    assert containers("down", "kind").stdout == "kind: ended\n"


@pytest.mark.parametrize(
    ("arguments", "program"), [(["slurm", "--docker"], "docker"), (["kind"], "kind")], ids=["docker", "kind"]
)
def test_where_there_is_no_docker(containers, pilotage, kept, tmp_path, arguments, program):
    done = containers("up", *arguments, fails="*version")
    assert done.returncode == 2
    assert f"`{program} " in done.stderr
    assert "version` does not answer: exit code 17: it is broken" in done.stderr
    done = pilotage("cluster", "up", *arguments, env={"PATH": str(tmp_path / "empty")})
    assert done.returncode == 2
    assert f"{program} is not installed" in done.stderr
    assert "--dry-run` prints what another machine can start" in done.stderr
    assert not kept.exists()
