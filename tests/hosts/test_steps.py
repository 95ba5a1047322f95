"""What `pilotage run` shows while a host that takes its time is prepared, with a terminal and without."""

import sys

import pytest

from program import PROGRAM
from terminals import Terminal

SLOW = """ForceCommand sleep 1.2; exec sh -c "$SSH_ORIGINAL_COMMAND" """
POOL = '[site.pool]\nscheduler = "ssh"\nhosts = ["far"]\npython = "{python}"\nrun_folder = "{folder}/there"\n'
SCRIPT = """
import beside, parsl
@parsl.python_app
def answer():
    return beside.ANSWER
with parsl.load():
    print("the answer", answer().result())
"""
CONNECTING = "pilotage: pool: connecting with far"
SLOWLY = [
    "pilotage: pool: making the run's folder on far",
    "pilotage: pool: asking far which of the script's 2 files it has",
    "pilotage: pool: sending 2 of the script's files to far, 0.00 MB",
    "pilotage: pool: opening the way by far",
]

pytestmark = pytest.mark.parametrize("server", [SLOW], indirect=True)


@pytest.fixture
def script(server, user_file, tmp_path):
    user_file(POOL.format(python=sys.executable, folder=tmp_path))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "beside.py").write_text("ANSWER = 42\n")
    (tmp_path / "own" / "script.py").write_text(SCRIPT)
    return str(tmp_path / "own" / "script.py")


def test_as_lines(script, pilotage):
    done = pilotage("run", "--site", "pool", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the answer 42\n"
    told = [line for line in done.stderr.splitlines() if line.startswith("pilotage: pool:")]
    assert told[0] == CONNECTING
    assert [line for line in told if line in SLOWLY] == [line for line in SLOWLY if line in told]
    assert len([line for line in SLOWLY if line in told]) >= 3, told


@pytest.mark.slow
def test_quietly(script, pilotage):
    done = pilotage("run", "--quiet", "--site", "pool", script)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_in_the_live_line(script, pilotage):
    terminal = Terminal([PROGRAM, "run", "--site", "pool", script], {**pilotage.env(), "TERM": "xterm"})
    assert terminal.finish(90) == 0, terminal.text()
    assert CONNECTING in terminal.text()
    for words in SLOWLY:
        assert words.removeprefix("pilotage: ") in terminal.text()
    assert not any(words in terminal.text() for words in SLOWLY)


LOGIN = """
[site.lab]
extends = "slurm"
login = "far"
python = "{python}"
run_folder = "{folder}/there"
reach = "relay"
inside_address = "127.0.0.1"
init_blocks = 0
"""


@pytest.mark.slow
def test_a_login_host_before_there_are_blocks(script, user_file, tmp_path, pilotage):
    user_file(LOGIN.format(python=sys.executable, folder=tmp_path))
    (tmp_path / "own" / "script.py").write_text("import beside, parsl\nwith parsl.load():\n    pass\n")
    terminal = Terminal([PROGRAM, "run", "--site", "lab", script], {**pilotage.env(), "TERM": "xterm"})
    assert terminal.finish(90) == 0, terminal.text()
    shown = terminal.text()
    order = ["pilotage: lab: connecting with far", "lab: making the run's folder on far", "lab: asking far which of"]
    order += ["lab: sending 2 of the script's files to far", "lab: opening the way by far (relay)"]
    assert sorted(order, key=shown.index) == order
    assert "lab: removing the run's folder on far" in shown
