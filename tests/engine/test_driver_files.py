"""Files of the driver's machine on workers that have only the port to its interchange: the real processes."""

import time
from pathlib import Path

import pytest

from pilotage.journal import Journal

HERE = str(Path(__file__).parent)
FILES = f"""
import glob, hashlib, time
sys.path.insert(0, {HERE!r})
from pilotage import journal
from pilotage.errors import PilotageError

journal.current = journal.Journal(os.path.abspath("journal"))
journal.current.create()

def store(url, grant):
    from pilotage.worker.data.base import open_store
    from pilotage.worker.data.places import place_of
    place = place_of(url)
    return open_store(place, {{"grant": grant}}), place

@python_app
def bring(path, target, grant, url="driver:"):
    from pilotage.worker.data.copying import fetch
    fetch(*store(url + path, grant), target)
    return type(store(url + path, grant)[0]).__name__

@python_app
def take(source, path, grant):
    from pilotage.worker.data.copying import publish
    given, place = store("driver:" + path, grant)
    publish(given, source, place)

def until(condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)

def make(path, size):
    with open(path, "wb") as file:
        file.write(os.urandom(size))
    return os.path.abspath(path)

def same(one, other):
    return open(one, "rb").read() == open(other, "rb").read()

def parts():
    return glob.glob("**/.*.part", recursive=True) + glob.glob("**/files.key", recursive=True)

def of_files():
    return [entry for entry in journal.current.open_entries() if entry.kind == "part_files"]
"""
BOTH_WAYS = """
    reads, writes = (lambda path: ours.grants.grant(path, "read")), (lambda path: ours.grants.grant(path, "write"))
    big = make("big file #1%", 20 << 20)
    assert bring(big, "got", reads(big)).result() == "FromDriver"
    assert same(big, "got")
    out = os.path.abspath("new/folder/out")
    take("got", out, writes(out)).result()
    assert same(big, out)
    os.mkdir("many")
    for number in range(1000):
        make(f"many/{number}", number)
    make("many/large", 3 << 20)
    many, there = os.path.abspath("many"), os.path.abspath("there")
    bring(many, "came", reads(many)).result()
    take("came", there, writes(there)).result()
    assert sorted(os.listdir(there)) == sorted(os.listdir("many"))
    assert all(same(f"many/{name}", f"there/{name}") for name in os.listdir("many"))
"""


@pytest.mark.parametrize("encrypted", [True, False])
def test_files_and_folders_both_ways(run, encrypted):
    run(
        FILES + f"ours = executor(encrypted={encrypted})\nwith load(ours):\n" + BOTH_WAYS + "assert not parts()\n"
        "assert not of_files()\n"
    )


def test_what_is_not_granted(run):
    run(
        FILES + "from pilotage.engine.granting import Grants\nours = executor()\nsecret = make('secret', 10)\n"
        "with load(ours):\n"
        "    for grant in (None, Grants().grant(secret, 'read'), ours.grants.grant(secret, 'write')):\n"
        "        error = bring(secret, 'got', grant).exception()\n"
        "        assert 'granted' in str(error), error\n"
        "    assert not os.path.exists('got')\n"
    )


def test_in_threads_they_are_files(run):
    run(
        FILES + "path = make('in', 10)\n"
        "with load(ThreadPoolExecutor()):\n"
        "    for url in ('driver:', 'pw:'):\n"
        "        assert bring(path, 'got' + url, None, url).result() == 'Files'\n"
        "        assert same(path, 'got' + url)\n"
    )


def test_an_executor_without_a_channel_has_no_grants(run):
    run(
        FILES + "command = interchange_command(sys.executable)\n"
        "assert executor().grants is not None\n"
        "assert executor(interchange_launch_cmd=['/bin/sh', '-c', 'exec \"$@\"', 'sh', *command]).grants is None\n"
        "assert executor(launch_cmd='process_worker_pool.py').grants is None\n"
    )


def test_the_key_is_nowhere(run):
    """Not in a file, a command line, an environment, a log or what is printed."""
    run(
        FILES + "import psutil\nours = executor(worker_debug=True)\nwith load(ours):\n"
        "    path = make('in', 10)\n"
        "    bring(path, 'got', ours.grants.grant(path, 'read')).result()\n"
        "    key = ours.grants.key\n"
        "    kinds = [key, key.hex().encode(), repr(key).encode()]\n"
        "    found = [repr(ours).encode()]\n"
        "    for process in psutil.Process().children(recursive=True):\n"
        "        found += [*map(os.fsencode, process.cmdline()), open(f'/proc/{process.pid}/environ', 'rb').read()]\n"
        "    paths = [path for path in glob.glob('**', recursive=True, include_hidden=True) if os.path.isfile(path)]\n"
        "    assert any('interchange' in path for path in paths), paths\n"
        "    found += [open(path, 'rb').read() for path in paths]\n"
        "    assert not [text for text in found for kind in kinds if kind in text]\n"
    )


TUNNEL = """
from tunnels import Tunnel

tunnel = Tunnel()

def through(**changes):
    return executor(**(dict(route=tunnel, heartbeat_threshold=120, encrypted=True) | changes))

def beside(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    return thread
"""


@pytest.mark.parametrize("how", ["cut", "swallow"])
def test_a_tunnel_that_breaks_in_the_middle(run, how):
    run(
        FILES + TUNNEL + "ours = through()\nwith load(ours):\n"
        "    big, out = make('big', 12 << 20), os.path.abspath('out')\n"
        "    small = make('small', 10)\n"
        "    bring(small, 'first', ours.grants.grant(small, 'read')).result()\n"
        "    tunnel.rate, tunnel.carried = 6 << 20, 0\n"
        "    one = bring(big, 'got', ours.grants.grant(big, 'read'))\n"
        "    until(lambda: tunnel.carried > 4 << 20)\n"
        f"    tunnel.{how}(2)\n"
        "    assert not one.done()\n"
        "    assert one.result(timeout=120) == 'FromDriver'\n"
        "    assert same(big, 'got')\n"
        "    tunnel.carried = 0\n"
        "    one = take('got', out, ours.grants.grant(out, 'write'))\n"
        "    until(lambda: tunnel.carried > 4 << 20)\n"
        f"    tunnel.{how}(2)\n"
        "    assert not one.done()\n"
        "    one.result(timeout=120)\n"
        "    assert same(big, out)\n"
        "assert not parts() and not of_files()\n"
    )


HALF = """
@python_app
def half(path, grant):
    import os, time
    from pilotage.worker.data import from_driver
    given, place = store("driver:" + path, grant)
    at = given._at(path, "write")
    with given._connection() as driver:
        driver.ask(at.says("write", upload="0123456789ab", offset=0, crc=0))
        open("began", "w").write(str(os.getpid()))
        os.rename("began", "half")
        time.sleep(600)
"""


def test_a_worker_that_is_killed_leaves_nothing(run):
    run(
        FILES + HALF + "import signal\nours = executor()\nwith load(ours):\n"
        "    out = os.path.abspath('out')\n"
        "    future = half(out, ours.grants.grant(out, 'write'))\n"
        "    until(lambda: os.path.exists('half'))\n"
        "    assert len(parts()) == 1 and len(of_files()) == 1\n"
        "    os.kill(int(open('half').read()), signal.SIGKILL)\n"
        "    assert 'CallLost' in type(future.exception()).__name__\n"
        "assert not parts() and not of_files() and not os.path.exists('out')\n"
    )


def test_a_driver_that_is_killed_leaves_nothing(start):
    process = start(
        FILES + HALF + "ours = executor()\nload(ours)\n"
        "out = os.path.abspath('out')\n"
        "future = half(out, ours.grants.grant(out, 'write'))\n"
        "until(lambda: os.path.exists('half'))\n"
        "assert len(parts()) == 1\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    process.kill()
    process.wait()
    journal = Journal("journal")
    for _ in range(600):
        if not (list(Path().glob(".*.part")) or [one for one in journal.open_entries() if one.kind == "part_files"]):
            return
        time.sleep(0.05)
    pytest.fail(f"left: {list(Path().glob('.*.part'))} {journal.open_entries()}")
