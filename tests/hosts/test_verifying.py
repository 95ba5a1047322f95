"""Hosts of a pool whose Python is not like the driver's: over a real sshd."""

import getpass
import os
import sys

import pytest

from pythons import environment, others, own

POOL = """
[site.pool]
scheduler = "ssh"
hosts = [{hosts}]
python = "{python}"
run_folder = "{folder}/there"
max_workers_per_node = 1
max_blocks = 1
"""
SCRIPT = """
import parsl
@parsl.python_app
def where():
    import sys
    return sys.version_info[:2]
with parsl.load():
    error = where().exception()
    print(error or where().result())
"""


@pytest.fixture
def run(server, user_file, pilotage, tmp_path):
    def start(python, *hosts, strategy="htex_auto_scale"):
        user_file(POOL.format(python=python, folder=tmp_path, hosts=", ".join(f'"{host}"' for host in hosts)))
        (tmp_path / "script.py").write_text(SCRIPT)
        done = pilotage("run", "--site", "pool", "--set", f"config.strategy={strategy}", tmp_path / "script.py")
        assert done.returncode == 0, done.stderr
        assert not list((tmp_path / "there").glob("2*")), "a folder is left on the host"
        return done

    return start


def test_a_host_that_refuses(run, tmp_path):
    done = run(environment(tmp_path / "env", {"parsl": "2025.1.6"}), "far")
    parsl, host = own()["parsl"], os.uname().nodename
    python = tmp_path / "env" / "bin" / "python"
    said = f"{host}: {python} has parsl 2025.1.6 (driver: {parsl}); to mend it: {python} -m pip install parsl=={parsl}"
    assert done.stdout == f"Executor pool failed due to: {said}\n"
    assert done.stderr.count(f"pilotage: block 0 of pool starts no workers: {said}") == 1, done.stderr


def test_all_hosts_refuse(run, tmp_path):
    """Each is tried, and no longer than that."""
    python = environment(tmp_path / "env", {"parsl": "2025.1.6"})
    done = run(python, "far", f"{getpass.getuser()}@far")
    said = f"Executor pool failed due to: {os.uname().nodename}: {python} has parsl 2025.1.6 "
    assert done.stdout.startswith(said)
    assert done.stdout.count("has parsl 2025.1.6") == 1


@pytest.mark.skipif(not others(), reason="this machine has no other Python")
@pytest.mark.parametrize("strategy", ["htex_auto_scale", "none"])
def test_a_host_that_refuses_is_passed_over(run, tmp_path, strategy):
    wrapper, other = tmp_path / "python", list(others().values())[-1]
    wrapper.write_text(
        f'#!/bin/sh\ncase "$1" in *.pool.0/*/expected.py) exec {other} "$@" ;; esac\nexec {sys.executable} "$@"\n'
    )
    wrapper.chmod(0o755)
    done = run(wrapper, "far", f"{getpass.getuser()}@far", strategy=strategy)
    assert done.stdout == f"{sys.version_info[:2]}\n", done.stderr
    assert f"block 0 of pool starts no workers: {os.uname().nodename}: {other} is Python " in done.stderr
