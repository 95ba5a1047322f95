"""The calls that differ between systems, with Linux's own on and switched off."""

import os
import subprocess
import sys
import textwrap

import psutil
import pytest

from pilotage import system


@pytest.fixture(params=["linux", "any POSIX"])
def either(request, monkeypatch):
    """Run a test twice: with Linux's own calls, and without them."""
    if request.param != "linux":
        monkeypatch.setattr(system, "linux", lambda: False)
    elif sys.platform != "linux":
        pytest.skip("this is not Linux")
    return request.param


def test_usable_cores(either):
    assert 1 <= system.usable_cores() <= os.cpu_count()


@pytest.mark.skipif(sys.platform != "linux", reason="affinity and cgroups are Linux's")
class TestLimits:
    @pytest.fixture(autouse=True)
    def many_cores(self, monkeypatch, tmp_path):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
        monkeypatch.setattr(system, "CGROUPS", tmp_path)
        monkeypatch.setattr(system, "OWN_CGROUPS", tmp_path / "own")
        self.cgroup = tmp_path

    def test_no_quota(self):
        assert system.usable_cores() == 16

    @pytest.mark.parametrize(
        ("text", "cores"), [("max 100000", 16), ("250000 100000", 2), ("50000 100000", 1), ("x", 16)]
    )
    def test_version_2(self, text, cores):
        (self.cgroup / "cpu.max").write_text(text + "\n")
        assert system.usable_cores() == cores

    def test_the_narrowest_of_nested_groups(self):
        inner = self.cgroup / "slurm" / "job"
        inner.mkdir(parents=True)
        (self.cgroup / "own").write_text("0::/slurm/job\n")
        (inner / "cpu.max").write_text("800000 100000\n")
        (inner.parent / "cpu.max").write_text("400000 100000\n")
        assert system.usable_cores() == 4

    @pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("300000", 3)])
    def test_version_1(self, quota, cores):
        (self.cgroup / "cpu").mkdir()
        (self.cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
        (self.cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
        assert system.usable_cores() == cores

    def test_memory(self):
        whole = system.usable_memory()
        assert whole > 1 << 28
        (self.cgroup / "own").write_text("0::/job\n")
        (self.cgroup / "job").mkdir()
        (self.cgroup / "job" / "memory.max").write_text("max\n")
        assert system.usable_memory() == whole
        (self.cgroup / "job" / "memory.max").write_text("1000000\n")
        assert system.usable_memory() == 1_000_000


class TestWaiting:
    @pytest.fixture
    def sleeper(self):
        process = subprocess.Popen(["sleep", "60"])
        yield process
        process.kill()
        process.wait()

    def test_a_process_that_goes_on(self, either, sleeper):
        assert system.wait_for_process_end(sleeper.pid, timeout=0.3) is False

    def test_a_process_that_ends(self, either, sleeper):
        sleeper.terminate()
        assert system.wait_for_process_end(sleeper.pid, timeout=20) is True

    def test_a_process_that_has_ended(self, either, sleeper):
        sleeper.kill()
        sleeper.wait()
        assert system.wait_for_process_end(sleeper.pid, timeout=20) is True


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
"""
CHILD = """
import os, time
from pilotage import system
system.linux = lambda: {linux}
system.when_process_ends(os.getppid(), lambda: os._exit(0))
print("watching", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("linux", [True, False])
def test_a_child_hears_that_its_parent_has_ended(linux):
    child = textwrap.dedent(CHILD).format(linux=linux and sys.platform == "linux")
    done = subprocess.run(
        [sys.executable, "-c", PARENT.format(child=child)], capture_output=True, text=True, timeout=30
    )
    pid = int(done.stdout)
    assert system.wait_for_process_end(pid, timeout=20)


def test_addresses(either):
    import ipaddress

    assert ipaddress.ip_address(system.primary_address()).version == 4
    loopback = next(
        name for name, found in psutil.net_if_addrs().items() if any(a.address == "127.0.0.1" for a in found)
    )
    assert system.interface_address(loopback) == "127.0.0.1"
    assert system.interface_address("nothing0") is None


def test_the_default_routes_interface_wins(monkeypatch, tmp_path):
    if sys.platform != "linux":
        pytest.skip("routes are read as Linux tells them")
    table = "Iface Dest Gateway Flags RefCnt Use Metric Mask\n"
    for name, metric in (("slow", 600), ("fast", 100)):
        table += f"{name} 00000000 01000000 0003 0 0 {metric} 00000000\n"
    (tmp_path / "route").write_text(table + "other 0000A8C0 0 0001 0 0 0 00FFFFFF\n")
    monkeypatch.setattr(system, "ROUTES", tmp_path / "route")
    monkeypatch.setattr(system, "interface_address", {"fast": "192.0.2.7", "slow": "192.0.2.8"}.get)
    assert system.primary_address() == "192.0.2.7"


def test_without_any_network(either, monkeypatch):
    monkeypatch.setattr(system, "interface_address", lambda name: None)
    assert system.primary_address() == "127.0.0.1"


def test_a_run_without_linuxs_calls(project, pilotage):
    """A Mac is a normal laptop: the whole way with the fall-backs."""
    (project / "sitecustomize.py").write_text("import sys\nfrom pilotage import system\nsystem.linux = lambda: False\n")
    (project / "s.py").write_text(
        "import os, parsl\nfrom pilotage import system\nassert not system.linux()\n"
        "parsl.load()\nprint(parsl.python_app(lambda: 7)().result())\n"
    )
    done = pilotage("run", "s.py", "--site", "laptop", env={"PYTHONPATH": str(project)})
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_a_write_in_which_no_other_thread_runs(tmp_path):
    data = bytes(range(256)) * 3
    with (tmp_path / "file").open("wb", buffering=0) as file:
        assert system.write_in_turn(file.fileno(), data) == len(data)
        assert system.write_in_turn(file.fileno(), b"") == 0
    assert (tmp_path / "file").read_bytes() == data
    with pytest.raises(OSError, match="Bad file descriptor"):
        system.write_in_turn(1 << 20, b"x")
