"""Mistakes about login hosts: each is named by its probe, with nothing else, and stands on the page of the docs."""

import getpass
import json
import sys
import uuid
from importlib.metadata import version
from pathlib import Path

import pytest

from check.mistakes import PAGE, Mistake, Page, hold, problems, row
from hosts.test_check import LOGIN, ON_PATH, SLURM, WELCOME

pytestmark = pytest.mark.slow
DF = """#!/bin/sh
# A file system that nodes see, whatever is asked of it.
case $1 in
-PT) echo; echo "server:/scratch {kind} 1000000000 0 {room} 1% {point}" ;;
*) echo; echo "server:/scratch 100000000 0 100000000 1% {point}" ;;
esac
"""
ROOM = 500_000_000
OPEN = f"{ON_PATH}\nGatewayPorts clientspecified"

MISTAKES = {
    "passphrase": (Mistake("the key there has a passphrase, and no agent", "login", "Permission denied"), OPEN),
    "host-key": (Mistake("the host is not known to ssh", "login", "its host key is not the known one"), OPEN),
    "noise": (
        Mistake("`~/.bashrc` there greets programs", "login", "says 'Welcome' to a program", status="warning"),
        f"{OPEN}\n{WELCOME}",
    ),
    "folder": (
        Mistake("the run folder cannot be made", "login-folder", "cannot be written to", ("run_folder=TMP/file/runs",)),
        OPEN,
    ),
    "space": (Mistake("the disk there is full", "login-space", "10.2 MB free"), OPEN),
    "shared": (
        Mistake(
            "the run folder is the login host's own", "login-shared", "nodes do not see it", ("run_folder=/tmp/OWN",)
        ),
        OPEN,
    ),
    "python": (
        Mistake(
            "there is no such Python on the login host", "python", "there is no /nowhere", ("python=/nowhere/python",)
        ),
        OPEN,
    ),
    "forwarding": (Mistake("its sshd forwards no ports", "reach", "is refused"), f"{OPEN}\nAllowTcpForwarding no"),
    "gateway": (
        Mistake(
            "`gateway`, and its sshd listens for its own host only",
            "reach",
            "does not listen at 127.0.0.2 for us",
            ("reach=gateway", "inside_address=127.0.0.2"),
        ),
        ON_PATH,
    ),
}


@pytest.mark.parametrize(("name", "server"), [(name, one[1]) for name, one in MISTAKES.items()], indirect=["server"])
def test_each_is_named(name, server, user_file, pilotage, tmp_path):
    mistake, _ = MISTAKES[name]
    own = f"pilotage-test-{uuid.uuid4().hex[:8]}"
    (tmp_path / "slurm").mkdir()
    (tmp_path / "file").touch()
    seen = {"kind": "nfs4", "room": 10_000 if name == "space" else ROOM, "point": "/"}
    if name == "shared":
        seen |= {"kind": "ext4"}
    for program, script in {
        **{one: f"#!/bin/sh\n{text}\n" for one, text in SLURM.items()},
        "df": DF.format(**seen),
    }.items():
        (tmp_path / "slurm" / program).write_text(script)
        (tmp_path / "slurm" / program).chmod(0o755)
    if name == "passphrase":
        server.lock("open sesame")
    if name == "host-key":
        (server.folder / "known_hosts").write_text("")
    user_file(LOGIN.format(python=sys.executable, folder=tmp_path, more=""))
    sets = [word.replace("TMP", str(tmp_path)).replace("OWN", own) for one in mistake.sets for word in ("--set", one)]
    done = pilotage.ask("check", "mine", "--json", *sets)
    (site,) = json.loads(done.stdout)["sites"]
    assert problems(mistake, site["findings"]) == []
    replaced = [(tmp_path, "FOLDER"), (f"/tmp/{own}", "/tmp/runs"), (f"{getpass.getuser()}@127.0.0.1", "ada@far")]
    replaced += [(f"Python {sys.version_info.major}.{sys.version_info.minor}", "PYTHON")]
    replaced += [(f"{one} {version(one.lower())}", one.upper()) for one in ("Parsl", "pilotage")]
    line = row(mistake, site["findings"], replaced)
    assert hold("login", {mistake.what: line}, whole=False) == []
    assert not (tmp_path / "there").exists()
    assert not Path("/tmp", own).exists()


def test_the_page_has_no_others():
    assert Page(PAGE.read_text()).rows["login"].keys() == {mistake.what for mistake, _ in MISTAKES.values()}
