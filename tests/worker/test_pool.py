"""Where Parsl's worker pool starts, and what it can import."""

import json
import os
import subprocess
import sys

import pytest

PROBE = "import json, os, sys\nprint(json.dumps([sys.argv, sys.path, os.getcwd(), dict(os.environ), __name__]))\n"
START = "from pilotage.worker import pool; import sys; pool.POOL = 'probe'; pool.main(sys.argv[1:])"


@pytest.fixture
def start(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "probe.py").write_text(PROBE)

    def run(*arguments, flags=(), cwd=tmp_path):
        done = subprocess.run(
            [sys.executable, *flags, "-c", START, *map(str, arguments)], capture_output=True, text=True, cwd=cwd
        )
        assert done.returncode == 0, done.stderr
        return (*json.loads(done.stdout), done.stderr)

    return run


def test_folder_path_and_arguments(start, tmp_path):
    lib, work = tmp_path / "lib", tmp_path / "work folder"
    work.mkdir()
    argv, path, cwd, environ, name, _ = start(
        "--cwd", work, "--path", lib, "--path", tmp_path, "--", "-a", "x", "--port=1"
    )
    assert argv[1:-1] == ["-a", "x", "--port=1", "--uid"]
    assert path[:2] == [str(lib), str(tmp_path)]
    assert (cwd, name) == (str(work), "__main__")
    assert "PYTHONPATH" not in environ


def test_the_current_folder_is_not_on_the_path(start, tmp_path):
    _, path, *_ = start("--path", tmp_path / "lib", "--", "x")
    assert "" not in path
    assert str(tmp_path) not in path


def test_nothing_is_taken_off_where_python_adds_nothing(start, tmp_path):
    usual = start("--path", tmp_path / "lib", "--", "x")[1]
    assert start("--path", tmp_path / "lib", "--", "x", flags=["-P"])[1] == usual


def test_a_folder_that_this_machine_does_not_have(start, tmp_path):
    *_, cwd, _, _, talk = start("--cwd", tmp_path / "gone", "--path", tmp_path / "lib", "--", "x")
    assert cwd == os.path.realpath(tmp_path)
    assert f"cannot work in {tmp_path / 'gone'}" in talk


def test_as_a_module_it_is_parsls_pool():
    done = subprocess.run(
        [sys.executable, "-m", "pilotage.worker.pool", "--cwd", "/", "--", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--max_workers_per_node" in done.stdout


ASKED = "pool.guarded = lambda manage, driver, interchange, *more: print(interchange)"


@pytest.mark.parametrize(("option", "asked"), [((), "[('127.0.0.1', 9)]"), (("--tunnelled",), "()")])
def test_a_tunnels_end_is_not_asked_whether_the_run_is_over(option, asked):
    """It refuses while the tunnel is made anew."""
    program = START.replace("pool.main", f"{ASKED}; pool.main")
    command = [sys.executable, "-c", program, *option, "--", "-a", "127.0.0.1", "-P", "9"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == asked, done.stderr
