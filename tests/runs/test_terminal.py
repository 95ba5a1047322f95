"""``pilotage run`` on a terminal: a real pseudo-terminal, typed into and read as a person would."""

import os
import signal
import sys
import termios
import time

import psutil
import pytest

from terminals import Terminal


@pytest.fixture
def terminal(project, pilotage):
    opened = []

    def start(script, *options):
        (project / "script.py").write_text(script)
        argv = [sys.executable, "-m", "pilotage", "run", *options, "script.py"]
        opened.append(Terminal(argv, {**pilotage.env(), "TERM": "xterm"}))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        os.close(one.master)
        os.close(one.slave)


def test_the_script_has_a_terminal_and_can_ask(terminal):
    t = terminal(
        "import os, sys\nprint(os.isatty(0), os.isatty(1), os.isatty(2), os.get_terminal_size().columns)\n"
        "print('hello', input('Name? '))\nprint('tty', open('/dev/tty').name)\n"
    )
    t.wait_for("Name? ")
    t.type("Ada\r")
    assert t.finish() == 0
    assert "True True True 100" in t.text()
    assert "hello Ada" in t.text()
    assert "tty /dev/tty" in t.text()


def test_pdb_works(terminal):
    t = terminal("x = 41\nbreakpoint()\nprint('after', x + 1)\n")
    t.wait_for("(Pdb)")
    t.type("p x * 2\r")
    t.wait_for("82")
    t.type("c\r")
    assert t.finish() == 0
    assert "after 42" in t.text()


def test_ctrl_c_is_a_keyboard_interrupt_in_the_script(terminal):
    t = terminal(
        "import time\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('caught')\n"
    )
    t.wait_for("ready")
    t.type("\x03")
    assert t.finish() == 0
    assert "caught" in t.text()


def test_ctrl_c_ends_a_run_with_workers(terminal):
    t = terminal(
        "import parsl, time\nfrom parsl import python_app\n@python_app\ndef f():\n    import time; time.sleep(60)\n"
        "parsl.load()\nx = f()\nprint('ready', flush=True)\nx.result()\n",
        "--site",
        "laptop",
    )
    t.wait_for("ready")
    t.wait_for("1 launched")
    t.type("\x03")
    assert t.finish(60) == -signal.SIGINT
    assert "KeyboardInterrupt" in t.text()


def test_ctrl_c_while_the_last_tasks_are_awaited(terminal):
    t = terminal(
        "import parsl, sys\nfrom parsl import python_app\n@python_app\ndef f():\n    import time; time.sleep(60)\n"
        "parsl.load()\nf()\nprint('ready', flush=True)\nsys.exit(0)\n",
        "--site",
        "laptop",
    )
    t.wait_for("ready")
    t.wait_for("1 launched")
    t.type("\x03")
    assert t.finish(60) == -signal.SIGINT
    assert "KeyboardInterrupt" in t.text()
    assert "pilotage/" not in t.text()


def test_input_with_json(terminal):
    t = terminal("print('hello', input('Name? '))\n", "--json")
    t.wait_for("Name?")
    t.type("Ada\r")
    assert t.finish() == 0
    assert "hello Ada" in t.text()


def test_ctrl_z_stops_the_run_and_it_goes_on(terminal):
    t = terminal("print('ready', flush=True)\nprint('got', input())\n")
    t.wait_for("ready")
    t.type("\x1a")
    end = time.monotonic() + 20
    view = psutil.Process(t.process.pid)
    (supervisor,) = view.children()
    while {process.status() for process in (view, *supervisor.children())} != {psutil.STATUS_STOPPED}:
        assert time.monotonic() < end
        time.sleep(0.05)
    t.process.send_signal(signal.SIGCONT)
    t.type("on\r")
    assert t.finish() == 0
    assert "got on" in t.text()


def test_a_live_line_and_a_summary(terminal):
    t = terminal(
        "import parsl, time\nfrom parsl import python_app\n@python_app\ndef f(i):\n    import time; time.sleep(1.5)\n"
        "parsl.load()\nfs = [f(i) for i in range(4)]\nprint('printed')\n[x.result() for x in fs]\n",
        "--site",
        "laptop",
    )
    t.wait_for("launched")
    assert t.finish(60) == 0
    lines = t.text()
    for part in ("laptop", "0 done", "waiting", "/s", "1 block (1 running)", " s", "4 tasks done, 0 failed"):
        assert part in lines, lines
    # What the script printed stands on a line of its own: the status line is erased before it.
    assert "\r\x1b[2Kprinted" in lines or "\nprinted" in lines or lines.startswith("printed")


def test_the_terminal_is_as_it_was(terminal):
    t = terminal("print(input())\n")
    time.sleep(0.5)
    t.type("x\r")
    assert t.finish() == 0
    assert termios.tcgetattr(t.slave) == t.before


def test_no_line_without_a_terminal(project, pilotage):
    (project / "script.py").write_text(
        "import parsl\nfrom parsl import python_app\n@python_app\ndef f(): return 1\n"
        "with parsl.load(): print(f().result())\n"
    )
    done = pilotage("run", "script.py", "--site", "threads")
    assert done.stdout == "1\n"
    assert done.stderr.count("\n") == 1
    assert "1 task done, 0 failed" in done.stderr
    assert "\x1b" not in done.stderr
    quiet = pilotage("run", "script.py", "--site", "threads", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("1\n", "")
