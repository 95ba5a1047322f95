"""What the store of ssh does besides what every store does: whom it trusts, which shells it meets, what it leaves."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from hosts.sshd import free_port
from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError, UsageError
from pilotage.worker.data import copying, ssh_words
from pilotage.worker.data.base import Cancelled, Meter, open_store
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.places import place_of
from stores.over_ssh import running


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    made = []
    monkeypatch.setattr(copying, "time", type("Time", (), {"sleep": staticmethod(made.append)}))
    return made


@pytest.fixture
def base():
    with tempfile.TemporaryDirectory(prefix="far") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def server(base, request):
    with running(base / "sshd", getattr(request, "param", "").replace("BASE", str(base))) as made:
        yield made


@pytest.fixture(autouse=True)
def sockets(base, monkeypatch):
    """Return the folders of connections' sockets, whenever it is called."""
    folder = base / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return lambda: list(folder.glob("pilotage-*"))


@pytest.fixture
def opened(server, sockets):
    """Open stores of the server; nothing of their connections may be left."""
    stores = []

    def open_(url="ssh://far/", **options):
        place = place_of(url)
        stores.append(open_store(place, {"config": str(server.config), "silence": 20, **options}))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()
    assert not [one for one in psutil.Process().children(recursive=True) if one.name() == "ssh"]
    assert not sockets()


def test_a_host_whose_key_is_not_known(server, opened, pauses):
    (server.folder / "known_hosts").write_text("")
    with pytest.raises(DeniedError, match="host key is not the known one") as caught:
        opened().look("/etc/passwd")
    assert caught.value.hint
    assert not pauses


def test_a_host_whose_key_is_another(server, opened, base):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(base / "other")], check=True)
    (server.folder / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {(base / 'other.pub').read_text()}")
    server.config.write_text(server.config.read_text().replace("StrictHostKeyChecking yes", "StrictHostKeyChecking no"))
    with pytest.raises(DeniedError, match="host key is not the known one"):
        opened().look("/etc/passwd")


def test_a_host_that_does_not_let_us_in(server, opened, pauses):
    (server.folder / "authorized_keys").write_text("")
    with pytest.raises(DeniedError, match=r"ssh: .*Permission denied \(publickey\)") as caught:
        fetch(opened(), place_of("ssh://far/etc/passwd"), str(server.folder / "x"))
    assert caught.value.hint
    assert not pauses


def test_a_host_that_is_not_there(server, opened, pauses):
    server.config.write_text(server.config.read_text().replace(f"Port {server.port}", f"Port {free_port()}"))
    with pytest.raises(BrokenTransferError, match="refused"):
        fetch(opened(), place_of("ssh://far/etc/passwd"), str(server.folder / "x"))
    assert len(pauses) == copying.TRIES - 1


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("ForceCommand internal-sftp", id="sftp"),
        pytest.param("ForceCommand echo this account is for nobody; exit 1", id="nobody"),
    ],
    indirect=True,
)
def test_a_host_without_a_shell(opened, pauses):
    with pytest.raises(DeniedError, match="no shell runs our commands there") as caught:
        fetch(opened(silence=5), place_of("ssh://far/etc/passwd"), "/nowhere/x")
    assert "sftp" in str(caught.value) or "for nobody" in str(caught.value)
    assert not pauses


@pytest.mark.parametrize("url", ["ssh://-oProxyCommand=touch x/y", "ssh://me:secret@far/y", "ssh://far:port/y"])
def test_what_is_no_host(url):
    with pytest.raises(UsageError) as caught:
        open_store(place_of(url), {})
    assert "secret" not in str(caught.value)


def test_paths_of_home(server, opened, base, private_home):
    """Which is that of the password file."""
    home = Path(os.path.expanduser(f"~{os.environ.get('USER', 'root')}"))
    name = f"pilotage-test-{os.getpid()}"
    store = opened()
    (base / "source").write_bytes(b"x")
    try:
        publish(store, str(base / "source"), place_of(f"ssh://far/~/{name}/file"))
        assert (home / name / "file").read_bytes() == b"x"
        assert store.look(f"~/{name}/file").size == 1
    finally:
        store.remove(f"~/{name}")
    assert not (home / name).exists()
    with pytest.raises(UsageError, match="not absolute"):
        store.look("~other/x")
    for path in ("/", "~", "~/"):
        with pytest.raises(UsageError):
            store.remove(path)


BASHRC = """
echo "Welcome to far"
echo "quota: 97% used" >&2
printf "without an end: "
"""


@pytest.mark.parametrize("server", ["SetEnv HOME=BASE/home"], indirect=True)
def test_login_scripts_that_talk(server, opened, base):
    (base / "home").mkdir()
    (base / "home" / ".bashrc").write_text(BASHRC)
    said = subprocess.run(["ssh", "-F", str(server.config), "far", "echo words"], capture_output=True, text=True)
    if "Welcome" not in said.stdout:
        pytest.skip("the user's shell is not bash")
    (base / "source").write_bytes(os.urandom(3_000_000))
    store, place = opened(), place_of(f"ssh://far{base}/there")
    publish(store, str(base / "source"), place)
    fetch(store, place, str(base / "back"))
    assert (base / "back").read_bytes() == (base / "source").read_bytes()
    with pytest.raises(NotThereError) as caught:
        store.look("/nowhere")
    assert "quota" not in str(caught.value)


@pytest.mark.parametrize("server", ["MaxSessions 1"], indirect=True)
def test_a_host_that_allows_one_command_a_connection(opened, base):
    store = opened()
    (base / "file").write_bytes(b"1")
    fetch(store, place_of(f"ssh://far{base}/file"), str(base / "back"))
    assert (base / "back").read_bytes() == b"1"


def test_scripts_have_nothing_that_shells_see_differently():
    """Those that a login shell is given, of whatever kind: csh has another quoting, and fish."""
    for script in (ssh_words.HELD, ssh_words.LOOP):
        assert not set("'!\\\n") & set(script)
    assert ssh_words.arguments(["a b", "it's\n!\\é"]) == r"'a b' 'it\0047s\0012\0041\0134\0303\0251'"


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_words_come_as_they_are(shell):
    words = ["it's", 'a "b" $HOME `x`', "line\nbreak\n", "back\\slash\\n", "-n", "", "é", os.fsdecode(b"\xff")]
    done = subprocess.run(
        [shell, "-c", ssh_words.command_line('for w do x=$(printf "%bx" "$w"); printf "%s|" "${x%x}"; done', *words)],
        capture_output=True,
        check=True,
    )
    assert [os.fsdecode(one) for one in done.stdout.split(b"|")[:-1]] == words


def test_what_is_not_written_is_not_run(server, opened, base):
    """The rest of a file for which there is no room: lines of it would be commands, if they knew the word."""
    store = opened()
    bad = base / "bad"
    line = f"touch {base}/run\n".encode()
    bad.write_bytes(line * (6_000_000 // len(line)))
    disk = base / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted")
    try:
        with running(base / "second") as second:  # its mounts are those of its start
            other = open_store(place_of("ssh://far/"), {"config": str(second.config), "silence": 20})
            with pytest.raises(DataError, match="No space left") as caught:
                publish(other, str(bad), place_of(f"ssh://far{disk}/file"))
            assert not isinstance(caught.value, BrokenTransferError)
            assert os.listdir(disk) == []
            assert other.look("/etc/passwd").size > 0
            other.close()
    finally:
        subprocess.run(["umount", disk], check=True)
    assert not (base / "run").exists()
    assert store.look(str(bad)).size == bad.stat().st_size


def test_a_line_without_the_word_ends_a_shell(base):
    command = ssh_words.command_line(ssh_words.LOOP, "word")
    lines = f"word touch {base}/one\ntouch {base}/two\nword touch {base}/three\n"
    done = subprocess.run(["sh", "-c", command], input=lines, capture_output=True, text=True)
    assert done.returncode == 1
    assert [(base / name).exists() for name in ("one", "two", "three")] == [True, False, False]


def test_a_file_in_the_place_of_a_folder_or_of_a_link_to_one(opened, base):
    (base / "folder").mkdir()
    (base / "link").symlink_to("folder")
    (base / "source").write_bytes(b"1")
    store = opened()
    with pytest.raises(DataError, match=r"directory"):
        publish(store, str(base / "source"), place_of(f"ssh://far{base}/folder"))
    publish(store, str(base / "source"), place_of(f"ssh://far{base}/link"))
    assert (base / "link").read_bytes() == b"1"
    assert not (base / "link").is_symlink()
    assert os.listdir(base / "folder") == []
    assert sorted(os.listdir(base)) == ["folder", "link", "source", "sshd", "tmp"]


def test_modes_and_private_files(opened, base):
    for mode in (0o600, 0o640, 0o755):
        (base / "source").write_bytes(b"1")
        (base / "source").chmod(mode)
        publish(opened(), str(base / "source"), place_of(f"ssh://far{base}/there"))
        assert (base / "there").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_what_is_no_file_in_a_folder_is_told(opened, base, kind):
    (base / "in").mkdir()
    os.mknod(base / "in" / "odd", {"fifo": 0o010600, "socket": 0o140600}[kind])
    with pytest.raises(DataError, match="cannot be copied"):
        fetch(opened(), place_of(f"ssh://far{base}/in"), str(base / "back"))
    assert not (base / "back").exists()


def test_a_folder_merges_what_has_odd_names(opened, base):
    source = base / "source"
    for folder in ("{}", "a b", "-d", "new\nline", ".hidden", "it's"):
        (source / folder / folder).mkdir(parents=True)
        (source / folder / folder / folder).write_text(folder)
        (source / folder / "link").symlink_to(folder)
    store, place = opened(), place_of(f"ssh://far{base}/{{}} there")
    for _ in range(2):
        publish(store, str(source), place)
        there = base / "{} there"
        done = subprocess.run(["diff", "-r", "--no-dereference", source, there], capture_output=True, text=True)
        assert not done.stdout + done.stderr
    assert sorted(os.listdir(base)) == ["source", "sshd", "tmp", "{} there"]


def test_one_connection_for_all_stores_of_a_process(server, opened, base):
    (base / "file").write_bytes(b"x" * 100)
    first, second = opened(), opened()
    for number, store in enumerate([first, second] * 3):
        fetch(store, place_of(f"ssh://far{base}/file"), str(base / str(number)))
    log = (server.folder / "log").read_text()
    assert log.count("Accepted publickey") == 1
    first.close()
    assert second.look(f"{base}/file").size == 100
    assert (server.folder / "log").read_text().count("Accepted publickey") == 1


def test_a_transfer_that_is_cancelled_leaves_the_others(server, opened, base):
    (base / "file").write_bytes(bytes(20_000_000))
    store, place = opened(), place_of(f"ssh://far{base}/file")
    meter = Meter()
    meter.cancelled = True
    with pytest.raises(Cancelled):
        fetch(store, place, str(base / "new"), meter)
    fetch(store, place, str(base / "new"))
    assert (base / "new").stat().st_size == 20_000_000
    assert (server.folder / "log").read_text().count("Accepted publickey") == 1


def test_a_connection_that_was_lost_is_made_anew(server, opened, base, pauses):
    store = opened()
    assert store.look("/etc/passwd").size > 0
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends with the first
            if one.name() == "ssh":
                one.kill()
    fetch(store, place_of("ssh://far/etc/passwd"), str(base / "new"))
    assert (base / "new").stat().st_size > 0
    assert len(pauses) <= 2


PROGRAM = """
import os, sys
from pilotage.worker.data.base import open_store
from pilotage.worker.data.places import place_of
store = open_store(place_of("ssh://far/"), {"config": sys.argv[1]})
store.look("/etc/passwd")
if sys.argv[2] == "fork":
    if (child := os.fork()) == 0:
        store.close()  # the parent's connection stays
        os._exit(0)
    os.waitpid(child, 0)
    assert store.look("/etc/passwd").size
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["left open", "fork", "killed"])
def test_a_process_that_ends_leaves_no_connection(server, sockets, how):
    done = subprocess.run([sys.executable, "-c", PROGRAM, server.config, how], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-9 if how == "killed" else 0, "")

    def left():
        running = psutil.process_iter(["cmdline"])
        return [one for one in running if str(server.config) in (one.info["cmdline"] or [])]

    end = time.monotonic() + 20
    while left() and time.monotonic() < end:
        time.sleep(0.05)
    assert not left()
    if how == "killed":  # an empty folder is all
        assert [os.listdir(one) for one in sockets()] == [[]]
    else:
        assert not sockets()
