"""`pilotage site add --login` and `site show` of sites that are reached by SSH."""

import sys
import tomllib

import pytest

from pilotage.hosts.openssh import OpenSSHHost

SLURM = {
    "sinfo": 'echo "debug*|up|30:00|2|4|4000|(null)"; echo "gpu|up|1-00:00:00|8|64|512000|gpu:a100:4(S:0-1)"',
    "sacctmgr": 'echo "physics|$(id -un)"; echo "other|bob"',
    "sbatch": "true",
    "squeue": "true",
    "scancel": "true",
}
ON_PATH = "SetEnv PATH=TMP/slurm:/usr/bin:/bin"


@pytest.fixture
def slurm(tmp_path):
    (tmp_path / "slurm").mkdir()
    for name, script in SLURM.items():
        (tmp_path / "slurm" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "slurm" / name).chmod(0o755)


@pytest.fixture
def added(private_home):
    """The text that was written."""
    return lambda: (private_home / "config" / "pilotage" / "pilotage.toml").read_text()


@pytest.mark.parametrize("server", [ON_PATH], indirect=True)
def test_the_far_side_is_what_is_detected(server, slurm, project, pilotage, added):
    done = pilotage.ask("site", "add", "lab", "--login", "far", "--queue", "gpu", "--yes")
    assert done.returncode == 0, done.stderr
    site = tomllib.loads(added())["site"]["lab"]
    assert (site["scheduler"], site["login"], site["python"]) == ("slurm", "far", sys.executable)
    assert (site["partition"], site["account"], site["cores_per_node"]) == ("gpu", "physics", 64)
    assert pilotage.ask("site", "validate", "lab").returncode == 0
    assert not OpenSSHHost("far").is_connected()


def test_a_host_without_a_scheduler_is_a_pool(server, project, pilotage, added):
    assert pilotage.ask("site", "add", "pool", "--login", "far", "--yes").returncode == 0
    site = tomllib.loads(added())["site"]["pool"]
    assert (site["scheduler"], site["hosts"], site["python"]) == ("ssh", ["far"], sys.executable)
    assert pilotage.ask("site", "validate", "pool").returncode == 0


@pytest.mark.parametrize("server", [ON_PATH], indirect=True)
def test_a_host_without_our_python(server, slurm, project, pilotage, added, monkeypatch, tmp_path):
    (tmp_path / "slurm" / "python3").write_text("#!/bin/sh\nprintf '/usr/bin/python3\\n3.9\\n\\n\\n'\n")
    (tmp_path / "slurm" / "python3").chmod(0o755)
    real = "pilotage.assembly.detection._pythons"
    monkeypatch.setattr(real, lambda host: ["/nowhere/python", f"{tmp_path}/slurm/python3"])
    done = pilotage.ask("site", "add", "lab", "--login", "far", "--yes")
    assert done.returncode == 0, done.stderr
    assert "python" not in tomllib.loads(added())["site"]["lab"]
    assert "was found there; there is /usr/bin/python3 (Python 3.9, no Parsl, no pilotage)" in added()
    assert tomllib.loads(added())["site"]["lab"]["environment"] == {"kind": "venv"}
    assert "warning: no Python 3." in done.stderr


def test_where_pythons_are_looked_for(far):
    from pilotage.assembly.detection import _pythons

    found = _pythons(far)
    assert sys.executable in found
    assert f"{far.identity().home}/venv/bin/python" in found
    assert found[-1] == "python3"


@pytest.mark.parametrize("login", ["-oProxyCommand=touch x", "a b", ""])
def test_what_is_no_host(project, pilotage, login):
    done = pilotage.ask("site", "add", "lab", "--login", login, "--yes")
    assert done.returncode == 2
    assert "is no host" in done.stderr


def test_a_host_that_wants_a_person(server, project, pilotage, private_home):
    server.lock("open sesame")
    done = pilotage.ask("site", "add", "lab", "--login", "far", "--yes")
    assert done.returncode == 1
    assert "pilotage login far" in done.stderr
    assert not (private_home / "config" / "pilotage").exists()


LAB = '[site.lab]\nextends = "slurm"\nlogin = "ada@head"\npython = "/sw/python"\npartition = "debug"\n'


def test_a_site_shows_its_reach(project, pilotage, user_file):
    user_file(LAB)
    shown = pilotage.ask("site", "show", "lab").stdout
    assert tomllib.loads(shown)["site"]["lab"]["login"] == "ada@head"
    ways = [line for line in shown.splitlines() if line.startswith("# ")]
    assert [line.split(":")[1 if "reach" in line else 0].split()[-1] for line in ways] == ["gateway", "relay"]
    assert "reach" not in pilotage.ask("site", "show", "slurm").stdout


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ("reach=auto", ["--tunnelled", "-a @inside_address@", "--port=@port@"]),
        ("inside_address=10.0.0.1", ["--tunnelled", "-a 10.0.0.1", "--port=@port@"]),
        ("reach=node", ["--tunnelled --via @login_host@:@loopback_port@", "-a 127.0.0.1"]),
        ("reach=direct", ["--tunnelled", "-a @address@", "--port=@worker_port@"]),
    ],
)
def test_the_script_tells_workers_the_other_end(project, pilotage, user_file, sets, told):
    user_file(LAB)
    script = pilotage.ask("site", "show", "lab", "--script", "--set", sets).stdout
    (command,) = [line for line in script.splitlines() if "worker.pool" in line]
    assert [one for one in told if one not in command] == []


def test_the_script_of_a_pool(project, pilotage, user_file):
    user_file('[site.pool]\nscheduler = "ssh"\nhosts = ["one", "two"]\n')
    script = pilotage.ask("site", "show", "pool", "--script").stdout
    assert "\nPILOTAGE_INTERCHANGE=127.0.0.1:@loopback_port@ " in script
    assert "-R 127.0.0.1:@loopback_port@:127.0.0.1:@worker_port@ @host@" in script


@pytest.mark.parametrize(
    ("sets", "commands"),
    [
        (["reach=gateway"], ["-R @inside_address@:@port@:127.0.0.1:@worker_port@ ada@head"]),
        (
            ["reach=relay", "inside_address=10.0.0.1"],
            [
                "-R 127.0.0.1:@loopback_port@:127.0.0.1:@worker_port@ ada@head",
                "on the login host: /sw/python -I @run_folder@/relay.py 10.0.0.1 @port@ @loopback_port@",
            ],
        ),
        (["reach=node"], ["on each node: ssh -N -L 127.0.0.1:@node_port@:127.0.0.1:@loopback_port@ @login_host@"]),
        (["reach=direct"], ["here: ssh -f -N -o ControlMaster=yes -o ControlPath=@socket@ ada@head"]),
    ],
)
def test_the_commands_of_a_tunnel_are_text(project, pilotage, user_file, sets, commands):
    user_file(LAB)
    words = [word for one in sets for word in ("--set", one)]
    done = pilotage.ask("site", "show", "lab", "--script", *words, env={"PATH": "/nowhere"})
    assert done.returncode == 0, done.stderr
    script, _, ways = done.stdout.partition(f"\n# {sets[0].partition('=')[2]}: ")
    assert script.startswith("#!/bin/bash\n")
    assert all(line.startswith("#") for line in ways.splitlines()[1:])
    for command in commands:
        assert command in ways
