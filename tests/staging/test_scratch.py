"""A node's folder for the data of one block: what others have left is removed, what others need is not."""

import os
import signal
import subprocess
import sys

import pytest

from pilotage.worker.data import scratch

BLOCK = """
import os, sys, time
from pilotage.worker.data import scratch
remove = scratch.claim(lambda: [sys.argv[1]])
folder = scratch.task_folder(sys.argv[1])
os.mkdir(os.path.join(folder, "read-only"))
open(os.path.join(folder, "read-only", "x"), "w").close()
os.chmod(os.path.join(folder, "read-only"), 0o500)
print(os.path.basename(os.path.dirname(folder)), flush=True)
if sys.stdin.readline() == "remove\\n":
    remove()
"""


@pytest.fixture
def block(tmp_path, monkeypatch):
    """Start a process that has data in a folder; returns it and the name of its own folder there."""
    monkeypatch.delenv(scratch.VARIABLE, raising=False)
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", BLOCK, tmp_path / "nodes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    (tmp_path / "nodes").mkdir()
    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_block_removes_its_own_and_what_killed_ones_have_left(block, tmp_path):
    nodes = tmp_path / "nodes"
    killed, left = block()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (nodes / left).exists()
    elsewhere = nodes / f"{left.rpartition('.')[0]}.0123456789ab"
    elsewhere.mkdir()
    (nodes / "pilotage-data-mine").mkdir()
    (nodes / "other").mkdir()
    living, its = block()
    assert {path.name for path in nodes.iterdir()} == {its, elsewhere.name, "pilotage-data-mine", "other"}
    second, own = block()
    assert (nodes / its).exists(), "one that lives keeps its data"
    second.communicate("remove\n")
    assert not (nodes / own).exists()
    assert (nodes / its).exists()
    living.kill()
    living.wait()
    scratch.remove_orphans(str(nodes))
    assert {path.name for path in nodes.iterdir()} == {elsewhere.name, "pilotage-data-mine", "other"}


def test_a_link_with_such_a_name_is_not_followed(block, tmp_path):
    killed, left = block()
    killed.kill()
    killed.wait()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").touch()
    link = tmp_path / "nodes" / left.replace("pilotage-data-", "pilotage-data-9")
    os.symlink(tmp_path / "precious", link)
    scratch.remove_orphans(str(tmp_path / "nodes"))
    assert (tmp_path / "precious" / "x").exists()


def test_of_a_driver_without_blocks_nothing_is_left(tmp_path):
    """Its threads may have folders in several places."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    text = (
        "import sys\n"
        "from pilotage.worker.data import scratch\n"
        "for above in sys.argv[1:]:\n"
        "    scratch.task_folder(above)\n"
    )
    env = {name: value for name, value in os.environ.items() if name != scratch.VARIABLE}
    subprocess.run([sys.executable, "-c", text, tmp_path / "one", tmp_path / "two"], check=True, env=env)
    assert not list((tmp_path / "one").iterdir())
    assert not list((tmp_path / "two").iterdir())
