"""Workers behind a tunnel that breaks: each call runs once, and whatever was on its way arrives."""

from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)

TUNNEL = f"""
import collections, time
sys.path.insert(0, {HERE!r})
from tunnels import Tunnel
from pilotage import events

events.current = events.Events("events")
tunnel = Tunnel()

@python_app
def count(number, pause=0.0):
    import os, time
    file = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b"%d " % number)
    os.close(file)
    time.sleep(pause)
    return number

def ran():
    return collections.Counter(map(int, open("ran").read().split())) if os.path.exists("ran") else {{}}

def until(condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)

def beside(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread

def through(**changes):
    return executor(**(dict(route=tunnel, heartbeat_threshold=120, max_workers_per_node=2) | changes))

def told(kind):
    return [event["message"] for event in events.current.read()[0] if event["kind"] == kind]

def all_once(futures):
    assert [future.result(timeout=90) for future in futures] == list(range(len(futures)))
    assert ran() == dict.fromkeys(range(len(futures)), 1), ran()
"""

STREAM = """
def stream(calls, cuts, pause=0.002, down=lambda: tunnel._swallows):
    futures = [count(n, pause) for n in range(calls // 2)]
    until(lambda: len(ran()) > 20)
    breaking = beside(cuts)
    until(down)
    for n in range(calls // 2, calls):  # while it is down, too
        futures.append(count(n, pause))
    breaking.join()
    return futures
"""

LOSS = """
class Silent(HighThroughputExecutor):
    def _route_options(self): return []

def control(**changes):
    arguments = dict(label="htex", route=tunnel, heartbeat_threshold=120, max_workers_per_node=2, heartbeat_period=1,
        address="127.0.0.1", encrypted=False, provider=LocalProvider(init_blocks=1, max_blocks=1),
        launch_cmd=worker_command(sys.executable), interchange_launch_cmd=interchange_command(sys.executable))
    return Silent(**(arguments | changes))
"""


@pytest.mark.parametrize("encrypted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_cut_in_the_middle_of_a_stream(run, encrypted):
    run(
        TUNNEL + STREAM + f"with load(through(encrypted={encrypted})):\n"
        "    all_once(stream(3000, lambda: tunnel.cut(5)))\n"
    )


@pytest.mark.slow
def test_without_the_layer_the_same_cut_loses_calls(run):
    """The control."""
    out = run(
        TUNNEL + STREAM + LOSS + "kernel = load(control())\n"
        "futures = stream(3000, lambda: tunnel.cut(5))\n"
        "time.sleep(20)\n"
        "print(sum(not future.done() for future in futures) > 0)\n"
        "sys.stdout.flush()\n"
        "ours = kernel.executors['htex']\nours.scale_in(1)\nours.shutdown()\n"
        "os._exit(0)\n"
    )
    assert out.split() == ["True"]


@pytest.mark.slow
def test_cut_again_and_again(run):
    run(
        TUNNEL + STREAM + "def cuts():\n    for _ in range(5):\n        tunnel.cut(1.5)\n        time.sleep(1)\n"
        "with load(through()):\n    all_once(stream(4000, cuts, 0.003))\n"
    )


@pytest.mark.slow
def test_a_tunnel_that_carries_nothing_and_does_not_say_so(run):
    run(
        TUNNEL + STREAM + "with load(through()):\n"
        "    all_once(stream(1000, lambda: tunnel.swallow(20)))\n"
        "    assert told('manager-silent') and told('manager-heard') and not told('manager-lost')\n"
    )


def test_submitted_and_ended_while_it_is_down(run):
    """Nothing at all is on the way when it breaks, and what runs ends while it is down."""
    run(
        TUNNEL + "with load(through()):\n"
        "    futures = [count(n, 3.0) for n in range(2)]\n"
        "    until(lambda: len(ran()) == 2)\n"
        "    breaking = beside(tunnel.cut, 6)\n"
        "    until(lambda: tunnel._swallows)\n"
        "    time.sleep(1)\n"
        "    futures += [count(n) for n in range(2, 40)]\n"
        "    all_once(futures)\n"
        "    breaking.join()\n"
    )


@pytest.mark.parametrize("how", ["cut", "swallow"])
def test_it_is_down_when_the_workers_start(run, how):
    run(
        TUNNEL + "def opens(port):\n    global breaking\n    place = Tunnel.open(tunnel, port)\n"
        f"    breaking = beside(tunnel.{how}, 8)\n    until(lambda: tunnel._swallows)\n    return place\n"
        "tunnel.open = opens\n"
        "with load(through()):\n    all_once([count(n) for n in range(20)])\n    breaking.join()\n"
    )


@pytest.mark.slow
def test_this_machine_sleeps(run):
    """For longer than a connection lasts without a sign of life: managers try anew, and nobody takes their calls."""
    run(
        TUNNEL + STREAM + "import psutil\n"
        "def sleep():\n    interchange.suspend()\n    time.sleep(20)\n    interchange.resume()\n"
        "with load(through()) as kernel:\n"
        "    interchange = psutil.Process(kernel.executors['htex'].interchange_proc.pid)\n"
        "    all_once(stream(1000, sleep, down=lambda: interchange.status() == psutil.STATUS_STOPPED))\n"
    )


def test_cut_while_much_is_on_its_way(run):
    """What has arrived need not come again: else a message that takes longer than the tunnel holds never would."""
    run(
        TUNNEL + "@python_app\ndef echo(number, data):\n"
        "    import os\n    file = os.open('ran', os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "    os.write(file, b'%d ' % number)\n    os.close(file)\n    return data\n"
        "data = os.urandom(20 << 20)\n"
        "def carried(most): return lambda: tunnel.carried > most\n"
        "with load(through(), retries=0):\n"
        "    count(0).result()\n"
        "    tunnel.rate = 5 << 20\n"
        "    tunnel.carried = 0\n"
        "    future = echo(1, data)\n"
        "    for mega in (8, 16, 28, 36):\n"  # twice on the way there, twice on the way back
        "        until(carried(mega << 20))\n"
        "        tunnel.cut(1)\n"
        "        assert not future.done()\n"
        "    assert future.result(timeout=90) == data\n"
        "    assert ran() == {0: 1, 1: 1}\n"
    )


@pytest.mark.parametrize(("kind", "expected"), [("through", "CallLost"), ("control", "ManagerLost")])
def test_a_manager_that_ends_while_it_is_down(run, kind, expected):
    """Its last words come when there is a way again; without the layer it finds none, and says none."""
    out = run(
        TUNNEL + LOSS + "import psutil\n"
        "@python_app\ndef hang():\n    import os, time\n"
        "    open('worker', 'w').write(str(os.getpid()))\n    os.rename('worker', 'its')\n    time.sleep(600)\n"
        f"with load({kind}(max_workers_per_node=1)):\n"
        "    future = hang()\n"
        "    until(lambda: os.path.exists('its'))\n"
        "    server = psutil.Process(int(open('its').read())).parent()\n"
        "    breaking = beside(tunnel.cut, 5)\n"
        "    until(lambda: tunnel._swallows)\n"
        "    time.sleep(1)\n"
        "    server.parent().kill()\n"
        "    print(type(future.exception(timeout=60)).__name__)\n"
        "    breaking.join()\n"
    )
    assert out.split() == [expected]


@pytest.mark.slow
def test_down_for_longer_than_the_threshold(run):
    """Told here and on the node; what was there is lost, and a manager that comes back is sent away."""
    run(
        TUNNEL + "from pathlib import Path\n"
        "ours = through(heartbeat_threshold=12, provider=LocalProvider(init_blocks=1, max_blocks=1, min_blocks=0))\n"
        "with load(ours):\n"
        "    count(0).result()\n"
        "    future = count(1, 600)\n"
        "    until(lambda: len(ran()) == 2)\n"
        "    tunnel.vanish()\n"
        "    assert type(future.exception(timeout=60)).__name__ == 'ManagerLost'\n"
        "    assert told('manager-silent')\n"
        "    until(lambda: told('manager-lost'))\n"
        "    words = 'nothing has been heard of the interchange'\n"
        "    until(lambda: any(words in p.read_text() for p in Path('runinfo').rglob('*.err')))\n"
    )


ROUTES = "import psutil\nprint(psutil.Process().children(recursive=True))\n"


def test_what_the_workers_are_told(run):
    out = run(
        TUNNEL + "ours = through()\nwith load(ours):\n    count(0).result()\n"
        "    command = ours._get_launch_command('0')\n"
        "    print(tunnel.opened == [ours.worker_port], f'--port={tunnel._place[1]} ' in command,\n"
        "        f'--port={ours.worker_port} ' in command, command.count('--tunnelled'), tunnel.closed)\n"
        "print(tunnel.closed)\n" + ROUTES
    )
    assert out.splitlines() == ["True True False 1 0", "1", "[]"]


def test_mpi_programs_have_it_too(run):
    out = run(
        TUNNEL + "from pilotage.engine.mpi import MPIExecutor\nfrom parsl.launchers import SimpleLauncher\n"
        "ours = MPIExecutor(label='mpi', address='127.0.0.1', route=tunnel, max_workers_per_block=1,\n"
        "    provider=LocalProvider(launcher=SimpleLauncher()), launch_cmd=worker_command(sys.executable),\n"
        "    interchange_launch_cmd=interchange_command(sys.executable))\n"
        "print(ours.route is tunnel, ours._route_options())\n"
    )
    assert out.splitlines() == ["True ['--tunnelled']"]


def test_a_route_that_cannot_be_opened(run):
    out = run(
        TUNNEL + "tunnel.refused = True\nours = through()\n"
        "try:\n    load(ours)\nexcept OSError as error:\n    print(error)\n"
        "print(len(tunnel.opened), tunnel.closed)\n" + ROUTES + "sys.stdout.flush()\nos._exit(0)\n"
    )
    assert out.splitlines() == ["no way", "1 1", "[]"]


def test_where_the_interchange_listens_elsewhere(run):
    out = run(
        TUNNEL + "import socket\nfrom pilotage.engine import beginning\n"
        "thief = socket.create_server(('127.0.0.1', 0))\n"
        "beginning.reserve = lambda address, ports: thief.dup()\n"
        "ours = through()\n"
        "with load(ours):\n"
        "    print(count(0).result(), tunnel.opened == [thief.getsockname()[1], ours.worker_port], tunnel.closed)\n"
        "thief.close()\nprint(tunnel.closed)\n" + ROUTES
    )
    assert out.splitlines() == ["0 True 1", "2", "[]"]


def test_one_that_cannot_be_closed_is_told(run):
    run(
        TUNNEL + "def refuse(): raise OSError('stuck')\n"
        "with load(through()):\n    count(0).result()\n    tunnel.close = refuse\n"
        "assert 'OSError: stuck' in told('route-left')[0]\n"
    )
