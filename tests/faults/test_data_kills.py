"""Transfers that are struck in their middle: a process is killed, the run is cancelled, the disk becomes full."""

import contextlib
import os
import signal
import subprocess

import psutil
import pytest
from data_run import Watcher, content, within
from fault_run import strike, until

from stores.faults import HANG, HttpProxy

SLOW = pytest.mark.slow
OTHERS = ("supervisor", "interchange")
SIZE = 2_000_000
HANGS = "the download hangs then"
KILLED_MID_DOWNLOAD = {
    "worker": ("two downloads", "SIGKILL of the workers", HANGS),
    "manager": ("two downloads", "SIGKILL of the manager", HANGS),
    "cancel": ("two downloads", "pilotage cancel", HANGS),
}
STOPPED = "half of each is there then"
APART = "shared_filesystem = false\ns3.endpoint_url = '{}'\ns3.silence = 100\n"


def size_of(name):
    """Return the bytes of an input; one comes in two pieces."""
    return 12_000_000 if name == "in-1" else SIZE


def fetched(bucket, folder, count):
    """Return tasks with inputs in a bucket and at the driver, a folder among them, and the sizes by name."""
    sizes = {}
    for number in range(count):
        for name in (f"in-{number}", f"tree-{number}/one", f"tree-{number}/two"):
            bucket.write(name, content(name, size_of(name)))
            sizes[name.rpartition("/")[2]] = size_of(name)
        (folder / f"mine-{number}").write_bytes(content(f"mine-{number}", SIZE))
        sizes[f"mine-{number}"] = SIZE
    tasks = [
        ([bucket.url(f"in-{one}"), f"driver:mine-{one}", bucket.url(f"tree-{one}/")], [f"driver:out/{one}.result"])
        for one in range(count)
    ]
    return tasks, sizes


def result(number):
    names = (f"in-{number}", f"mine-{number}", f"tree-{number}/one", f"tree-{number}/two")
    return b"".join(content(name, size_of(name)) for name in names)


def is_right(run, count):
    for number in range(count):
        assert (run.here / "out" / f"{number}.result").read_bytes() == result(number)
    assert len(list((run.here / "out").iterdir())) == count


def hang(proxy, bucket):
    """Let two tasks wait in the middle of what they are brought: of a file's second piece, and of one of a folder."""
    heads = (b"bytes=8388608-", f"/{bucket.name}/tree-2/two ".encode())
    return [proxy.add(cut=HANG, after=SIZE // 2, methods=("GET",), says=head) for head in heads]


@pytest.mark.parametrize(
    "target",
    ["worker", pytest.param("manager", marks=pytest.mark.slow), pytest.param("cancel", marks=pytest.mark.slow)],
)
def test_a_task_is_killed_while_it_is_brought_its_inputs(data_run, bucket, data_matrix, tmp_path, target):
    with HttpProxy(bucket.port) as proxy, data_matrix.trial(*KILLED_MID_DOWNLOAD[target]) as trial:
        cache = tmp_path / "cache"
        kept = f"cache = '{cache}'\n" if target == "cancel" else ""
        run = data_run([], kept + APART.format(proxy.url), workers=2, retries=2)
        tasks, sizes = fetched(bucket, run.here, 4)
        run.plan(tasks)
        hung = hang(proxy, bucket)
        results = {f"{number}.result": len(result(number)) for number in range(4)}
        with Watcher([run.temporary, cache], sizes) as watcher, Watcher([run.here / "out"], results) as outputs:
            run.start()
            until(lambda: all(one.met for one in hung), lambda: run.told())
            assert run.left_on_node(cache)  # what there is to be left
            run.remember()
            if target == "cancel":
                assert run.pilotage("cancel", run.run_folders()[0].name).returncode == 0
                assert run.ends() == "cancelled"
                run.is_gone()
                assert not run.left_on_node()
                proxy.drop()
                run.goes_on()
                # A block that has had no time to remove them leaves parts in a cache that is kept, for the next one.
                assert not run.left_on_node(cache)
                trial.came = "cancelled; resumed"
            else:
                for one in run.processes(target):
                    strike(one, "SIGKILL")
                proxy.drop()
                run.finishes()
                trial.came = "finished"
        assert not watcher.halves
        assert not outputs.halves
        assert watcher.parts
        assert watcher.looked
        is_right(run, 4)


@pytest.mark.slow
def test_without_names_of_their_own_halves_are_seen(data_run, bucket):
    with HttpProxy(bucket.port) as proxy:
        run = data_run([], APART.format(proxy.url), workers=2, env=within("names"))
        tasks, sizes = fetched(bucket, run.here, 4)
        run.plan(tasks)
        hung = hang(proxy, bucket)
        with Watcher([run.temporary], sizes) as watcher:
            run.start()
            until(lambda: all(one.met for one in hung), lambda: run.told())
            until(lambda: 8388608 in (size for _, size in set(watcher.halves)), "a half")
            proxy.drop()
            run.ends()
            run.is_gone()


LARGE = 60_000_000
OUTPUTS = """
shared_filesystem = false
s3.endpoint_url = '{}'
s3.silence = 100
http.silence = {}
http.copied_by = 'driver'
"""


@pytest.mark.parametrize(
    "target", ["driver", *(pytest.param(one, marks=SLOW) for one in ("supervisor", "interchange"))]
)
def test_a_run_dies_while_outputs_are_taken_to_their_places(data_run, bucket, web_server, data_matrix, target):
    detached = ("--detach",) if target == "supervisor" else ()
    bucket.write("in", content("in", SIZE))
    with (
        HttpProxy(bucket.port) as s3,
        HttpProxy(web_server.server_port) as web,
        data_matrix.trial("three uploads", f"SIGKILL of the {target}", STOPPED) as trial,
    ):
        run = data_run([], OUTPUTS.format(s3.url, 10 if target == "interchange" else 100), workers=3, options=detached)
        (run.here / "large").write_bytes(content("large", LARGE))
        run.plan(
            [
                ([bucket.url("in")], [bucket.url("out/first")]),
                ([bucket.url("in")], [bucket.url("out/s3")]),
                ([bucket.url("in")], [f"{web.url}/out"]),
                (["driver:large"], ["driver:out/large"]),
            ]
        )
        hung = [
            s3.add(cut=HANG, after=SIZE // 2, methods=("PUT",), up=True, says=b"/out/s3 "),
            web.add(cut=HANG, after=SIZE // 2, methods=("PUT",), up=True, says=b"PUT /out "),
        ]
        sizes = {"large": LARGE, "out": SIZE}
        with Watcher([run.here / "out", web_server.folder], sizes) as watcher:
            hold = run.here / "hold-3"
            hold.touch()
            run.start()
            until(lambda: all(one.met for one in hung) and bucket.keys("out/"), lambda: run.told())
            hold.unlink()
            until(lambda: watcher.parts, lambda: run.told(), pause=0.002)
            for one in run.processes("worker"):  # so that none of the file comes any more
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGSTOP)
            part = list((run.here / "out").iterdir())
            assert [one.suffix for one in part] == [".part"], part
            run.remember()
            strike(run.find(target), "SIGKILL")
            if target == "supervisor":
                until(lambda: not run.supervisor(), "an end")
            else:
                assert run.ends() == "failed"
            run.pilotage("clean")
            run.is_gone()
            assert not list((run.here / "out").iterdir())
            assert not run.left_on_node()
            # Without the interchange, the driver is still there, and what it copies itself may be tried again.
            assert target == "interchange" or not (web_server.folder / "out").exists()
            assert bucket.keys("out/") == ["out/first"]
            for proxy in (s3, web):
                proxy.faults.clear()
                proxy.drop()
            run.goes_on(but=[2])  # its output is the driver's to copy: what comes of that, the checkpoint does not know
        assert not watcher.halves
        assert (run.here / "out" / "large").read_bytes() == content("large", LARGE)
        assert [one.name for one in (run.here / "out").iterdir()] == ["large"]
        assert bucket.read("out/first") == bucket.read("out/s3") == content("in", SIZE)
        assert (web_server.folder / "out").read_bytes() == content("in", SIZE)
        trial.came = "resumed"


@pytest.fixture
def disk(tmp_path):
    """A small disk, which can be made larger."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["cache", pytest.param("temporary", marks=pytest.mark.slow)])
def test_the_disk_of_a_node_is_full(data_run, bucket, web_server, data_matrix, disk, which):
    large = 20_000_000
    names = ["small-0", "s3", "http", "driver", "small-1"]
    sizes = {name: SIZE if name.startswith("small") else large for name in names}
    for name in names:
        bucket.write(name, content(name, sizes[name]))
    (web_server.folder / "http").write_bytes(content("http", large))
    with pytest.raises(OSError, match="No space left"):
        (disk / "control").write_bytes(bytes(large))
    (disk / "control").unlink()
    staging = APART.format(f"http://127.0.0.1:{bucket.port}")
    with data_matrix.trial(
        "three downloads", f"a full disk, of the {which} folder", "a plain write finds no room"
    ) as trial:
        if which == "cache":
            run = data_run([], f"cache = '{disk}/cache'\n{staging}", workers=1)
        else:
            run = data_run([], staging, workers=1, env={"TMPDIR": str(disk)})
        (run.here / "driver").write_bytes(content("driver", large))
        urls = {"http": f"{web_server.url}/http", "driver": "driver:driver"}
        run.plan([([urls.get(name, bucket.url(name))], [bucket.url(f"out/{name}-copy")]) for name in names])
        with Watcher([disk], sizes) as watcher:
            run.start()
            errors = run.fails()
            assert run.seen() == [0, 4]
            assert sorted(errors) == [1, 2, 3]
            for number, error in errors.items():
                assert error["kind"] == "StageInError"
                assert error["where"].endswith(names[number])
                assert "No space left on device" in error["words"]
                assert "make room" in error["words"]
                assert str(disk) in error["words"]
            assert not run.left_on_node(disk)
            subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
            run.goes_on()
        assert not watcher.halves
        for name in names:
            assert bucket.read(f"out/{name}-copy") == content(name, sizes[name])
        assert not run.left_on_node(disk)
        trial.came = "failed; resumed"
