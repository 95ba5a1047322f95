"""A host whose login scripts write to everybody: what our commands say is what is read."""

import json
import os
import pwd
import subprocess
import sys

import pytest

from pilotage.hosts.far import FarFolder
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.hosts.way import Way

BASHRC = """
echo "Welcome to far"
echo "/no/path 42 {"
echo "quota: 97% used" >&2
printf "without an end: "
"""
POOL = """
[site.pool]
scheduler = "ssh"
hosts = ["far"]
python = "{python}"
run_folder = "{folder}/there"
max_workers_per_node = 1
"""
SCRIPT = """
import parsl
@parsl.python_app
def double(number):
    return 2 * number
with parsl.load():
    print(sum(one.result() for one in [double(number) for number in range(5)]))
"""

pytestmark = [
    pytest.mark.parametrize("server", [pytest.param("SetEnv HOME=TMP/home", id="loud")], indirect=True),
    pytest.mark.skipif(not pwd.getpwuid(os.getuid()).pw_shell.endswith("bash"), reason="it is bash that reads .bashrc"),
]


@pytest.fixture
def loud(server, tmp_path):
    """The host, whose .bashrc is seen to write to ssh itself."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".bashrc").write_text(BASHRC)
    done = subprocess.run(["ssh", "far", "echo words"], capture_output=True, text=True)
    assert done.stdout == "Welcome to far\n/no/path 42 {\nwithout an end: words\n"
    assert "quota" in done.stderr
    host = OpenSSHHost("far")
    yield host
    host.close()


def test_commands_and_who_we_are(loud, tmp_path):
    done = loud.run(["sh", "-c", "echo out; echo error >&2; exit 7"])
    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "error\n", 7)
    assert loud.noise.startswith("Welcome to far\n")
    found = loud.identity()
    assert (found.home, found.host) == (str(tmp_path / "home"), os.uname().nodename)
    assert loud.has("sh")
    assert not loud.has("no-such-program")


def test_files(loud, tmp_path):
    (tmp_path / "file").write_bytes(b"x\0\n" * 1000)
    loud.send(tmp_path / "file", str(tmp_path / "far" / "it"))
    loud.fetch(str(tmp_path / "far" / "it"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert loud.read(["cat", str(tmp_path / "far" / "it")]) == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("reach", ["relay", "gateway"])
def test_the_way_and_the_runs_folder(loud, tmp_path, reach):
    """A relay tells its port, and sshd's is asked for: neither is what the scripts have written."""
    folder = FarFolder(loud, "~/runs")
    there = folder.begin(tmp_path)
    assert there.startswith(f"{tmp_path}/home/runs/")
    way = Way(folder, sys.executable, reach, "127.0.0.1" if reach == "gateway" else None)
    try:
        address, port = way.open(9)
        assert port > 0
        assert address.count(".") == 3
    finally:
        way.close()
        folder.end()


def test_a_session_and_what_is_handed_over(loud, capfd):
    with loud.session(["sh", "-c", "echo first; cat"]) as process:
        assert process.communicate(b"second\n") == (b"first\nsecond\n", b"quota: 97% used\n")
    assert loud.attended(["sh", "-c", "echo '{}'; exit 3"], terminal=False) == 3
    assert capfd.readouterr().out == "{}\n"


def test_a_run(loud, user_file, pilotage, tmp_path):
    user_file(POOL.format(python=sys.executable, folder=tmp_path))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = pilotage("run", "--site", "pool", tmp_path / "script.py")
    assert (done.returncode, done.stdout) == (0, "20\n"), done.stderr
    assert not [path for path in (tmp_path / "there").glob("*") if path.name != "code"]


def test_check_tells_of_it(loud, user_file, pilotage, tmp_path):
    user_file(POOL.format(python=sys.executable, folder=tmp_path))
    (site,) = json.loads(pilotage.ask("check", "pool", "--json").stdout)["sites"]
    found = {one["probe"]: one for one in site["findings"]}
    assert found["login"]["message"].startswith("far says 'Welcome to far")
    assert {name for name, one in found.items() if one["status"] in ("failed", "warning")} == {"login"}, found
