"""Workers whose Python is not like the driver's: refused before a manager starts, told at once, and not tried again."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from parsl.jobs.states import JobState, JobStatus

from pilotage.engine import verifying
from pilotage.engine.commands import with_our_pool, worker_command
from pilotage.engine.executor import HighThroughputExecutor
from pilotage.engine.verifying import Refusal, refusal, together, verified
from pilotage.worker import expected
from pythons import environment, others, own

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
HAS = {"python": "3.11", "parsl": "2026.11.9", "pilotage": "0.1.0", "dill": "0.4.1", "cloudpickle": "3.1.2"}


# The command


def test_the_command():
    command = with_our_pool(worker_command("/opt/my python/bin/python3"), "/home/ada", ["/home/ada"])
    found = verified(command, "/runs/it's/expected.py", HAS, ["numpy >=2, <3", "h5py"])
    look, _, pool = found.partition(" -- ")
    assert look == (
        """'/opt/my python/bin/python3' '/runs/it'"'"'s/expected.py' python=3.11 parsl=2026.11.9 pilotage=0.1.0 """
        "dill=0.4.1 cloudpickle=3.1.2 'require=numpy>=2,<3' require=h5py"
    )
    assert f"'/opt/my python/bin/python3' {pool}" == command
    # some launchers of Parsl put it into here-documents, where these mean something
    assert not set("$`\\") & set(look)
    assert shlex.split(look)[-2:] == ["require=numpy>=2,<3", "require=h5py"]


@pytest.mark.parametrize(
    "command",
    [
        "process_worker_pool.py --port=1",
        "python3 -m pilotage.worker.pool -- --port=1",
    ],
)
def test_another_command_stays_as_it_is(command):
    assert verified(command, "/runs/expected.py", HAS) == command


def test_a_python_in_a_container():
    command = "apptainer exec image.sif python3 -P -m pilotage.worker.pool -- --port=1"
    found = verified(command, "/runs/expected.py", {"python": "3.11"})
    assert found == (
        "apptainer exec image.sif python3 /runs/expected.py python=3.11 -- -P -m pilotage.worker.pool -- --port=1"
    )
    for encrypted, launcher, looks in (
        (True, "env A=1 python3", True),
        (False, "env A=1 python3", False),  # nobody knows whether it sees the run's folder
        (False, "bash -c 'python3", False),
        (False, "'/opt/my python/bin/python3'", True),
        (False, "python3", True),
    ):
        executor = HighThroughputExecutor(address="127.0.0.1", encrypted=encrypted, verify=True)
        executor.run_dir = "/runs"
        assert ("expected.py" in executor._verified(f"{launcher} -P -m pilotage.worker.pool -- --port=1")) is looks


def test_a_requirement_that_is_none():
    with pytest.raises(ValueError, match="'numpy~=2' is no package"):
        HighThroughputExecutor(address="127.0.0.1", require=["numpy~=2"])


# What blocks have said


def status(folder, err, out=""):
    (folder / "err").write_bytes(err if isinstance(err, bytes) else err.encode())
    (folder / "out").write_text(out)
    return JobStatus(JobState.MISSING, exit_code=78, stdout_path=str(folder / "out"), stderr_path=str(folder / "err"))


def line(host, words, fix="do this"):
    return f"{expected.SAYS}{host}: {words}{expected.FIX}{fix}\n"


def test_what_all_nodes_say_is_told_once(tmp_path):
    said = "".join(f"{number}: " + line(f"node{number}", "python has no parsl") for number in (3, 1, 2))
    said = f"srun: warning\n{said}srun: error: node1: tasks 0-2: Exited with exit code 78\n"
    assert refusal(status(tmp_path, said)) == Refusal("node1, node2, node3: python has no parsl", "do this")
    many = "".join(line(f"n{number}", "python has no parsl") for number in range(1000, 2000))
    assert refusal(status(tmp_path, many)).words == "n1000, n1001, n1002, n1003 and 996 more: python has no parsl"


def test_what_nodes_say_differently(tmp_path):
    said = line("a", "python has no parsl", "x") + line("b", "python is Python 3.9", "y") + line("c", "this", "y")
    found = refusal(status(tmp_path, said))
    assert found == Refusal("a: python has no parsl; b: python is Python 3.9; c: this", "x and y")
    other = Refusal("d: that", "y")
    assert together([found, other, other]) == Refusal(f"{found.words}; d: that", "x and y and y")


def test_where_it_stands(tmp_path):
    assert refusal(status(tmp_path, "", out=line("a", "joined"))).words == "a: joined"
    noise = b"\xff" * (2 * verifying.READ)
    assert refusal(status(tmp_path, noise + b"\n" + line("a", "at the end").encode())).words == "a: at the end"
    assert refusal(status(tmp_path, "modulo: command not found\n")) is None
    assert refusal(JobStatus(JobState.FAILED)) is None
    assert refusal(JobStatus(JobState.FAILED, stderr_path=str(tmp_path / "nowhere"))) is None


# Runs


SCRIPT = """
import parsl
from parsl import python_app

@python_app
def task(number):
    return number

with parsl.load():
    errors = [future.exception() for future in [task(number) for number in range(20)]]
    print(len({str(error) for error in errors}), type(errors[0]).__name__, errors[0])
    kernel = parsl.dfk()
    (executor,) = [one for label, one in kernel.executors.items() if label == "laptop"]
    print(len(executor.blocks_to_job_id))
    raise SystemExit(5)
"""


def refused(pilotage, project, private_home, python, *arguments):
    """Run a script on workers whose Python is refused; return the words of its tasks' error."""
    (project / "script.py").write_text(SCRIPT)
    done = pilotage("run", "script.py", "--site", "laptop", "--set", f"python={python}", *arguments)
    assert done.returncode == 5, done.stderr
    first, blocks = done.stdout.splitlines()
    count, kind, words = first.split(" ", 2)
    assert (count, kind, blocks) == ("1", "BadStateException", "1")
    (run,) = (private_home / "state" / "runs").glob("2*")
    assert list(run.glob("parsl/*/laptop/block-*")) == [], "a manager has begun"
    said = words.removeprefix("Executor laptop failed due to: ")
    told = f"pilotage: block 0 of laptop starts no workers: {said}"
    assert done.stderr.count(told) == 1, done.stderr
    return said


def test_another_parsl(pilotage, project, private_home, tmp_path):
    python = environment(tmp_path / "env", {"parsl": "2025.1.6", "dill": own()["dill"] + "+ours"})
    said = refused(pilotage, project, private_home, python, "--set", "init_blocks=1", "--set", "max_blocks=4")
    has = own()
    assert (
        f"{python} has parsl 2025.1.6 (driver: {has['parsl']}), dill {has['dill']}+ours (driver: {has['dill']})" in said
    )
    assert said.endswith(f"; to mend it: {python} -m pip install parsl=={has['parsl']} dill=={has['dill']}")


def test_no_pilotage(pilotage, project, private_home, tmp_path):
    told = {name: version for name, version in own().items() if name != "pilotage"}
    python = environment(tmp_path / "env", told, real=False)
    said = refused(pilotage, project, private_home, python)
    version = own()["pilotage"]
    assert said.endswith(
        f"{python} has no pilotage (driver: {version}); to mend it: {python} -m pip install pilotage=={version}"
    )


@pytest.mark.parametrize("minor", list(others())[:1] + list(others())[-1:])
def test_another_python(pilotage, project, private_home, minor):
    python = others()[minor]
    said = refused(pilotage, project, private_home, python)
    assert f"{python} is Python {minor}." in said
    assert f"; to mend it: set python = PATH of a Python {OWN} there" in said


def test_a_python_that_fits(pilotage, project, private_home, tmp_path):
    python = environment(tmp_path / "env", {})
    (project / "script.py").write_text(
        "import parsl\n@parsl.python_app\ndef where():\n    import sys; return sys.prefix, sys.flags.safe_path\n"
        "with parsl.load(): print(*where().result())\n"
    )
    done = pilotage("run", "script.py", "--site", "laptop", "--set", f"python={python}")
    assert done.stdout == f"{tmp_path}/env True\n", done.stderr
    (run,) = (private_home / "state" / "runs").glob("2*")
    (script,) = run.glob("parsl/*/laptop/expected.py")
    assert script.read_bytes() == Path(expected.__file__).read_bytes()


def test_what_is_required_beside(run):
    out = run(
        "@python_app\ndef f(): return 1\n"
        "with load(executor(verify=True, require=['no-such-package >= 2', 'parsl>=2026'])) as kernel:\n"
        "    error = f().exception()\n"
        "    print(error)\n"
        "with load(executor(verify=True, require=['parsl>=2026'])) as kernel:\n"
        "    print(f().result())\n"
    )
    words, result = out.splitlines()
    assert f"{sys.executable} has no no-such-package (needed: >=2); to mend it: " in words
    assert words.endswith(f"{sys.executable} -m pip install 'no-such-package>=2'")
    assert result == "1"


def test_what_a_site_requires(pilotage, project, private_home):
    sets = ["--set", "environment={kind='same', require=['no-such-package>=2']}"]
    (project / "script.py").write_text(SCRIPT)
    done = pilotage("run", "script.py", "--site", "laptop", *sets)
    assert done.returncode == 5, done.stderr
    words = f"{sys.executable} has no no-such-package (needed: >=2); to mend it: {sys.executable} -m pip install "
    assert words in done.stdout


@pytest.mark.slow
def test_a_change_under_a_run_ends_it_once_it_is_no_chance(run, tmp_path):
    """A run whose first block has worked goes on asking for others, and ends when each new one refuses."""
    python = environment(tmp_path / "env", {})
    change = "pathlib.Path(sys.argv[1]).mkdir(); (pathlib.Path(sys.argv[1]) / 'METADATA').write_text('Version: 1\\n')"
    script = (
        "import sys, pathlib, signal\n@python_app\ndef pid():\n    import os; return os.getppid()\n"
        "@python_app\ndef f(): return 1\n"
        f"made = executor(verify=True, launch_cmd=worker_command({python!r}))\n"
        "with load(made) as kernel:\n"
        "    assert f().result() == 1\n"
        f"    sys.argv[1:] = [{str(tmp_path)!r} + '/env/lib/python{OWN}/site-packages/parsl-1.dist-info']\n"
        f"    {change}\n"
        "    kernel.executors['htex'].scale_in_facade(1)\n"
        "    print(f().exception())\n"
        "    print(len(made.blocks_to_job_id))\n"
    )
    words, blocks = run(script).splitlines()
    assert "has parsl 1 (driver: " in words
    assert blocks == "4"


def test_the_driver_itself_is_not_looked_at(pilotage):
    shown = pilotage.ask("site", "show", "laptop", "--script").stdout
    assert "expected.py" not in shown
    again = pilotage.ask("site", "show", "laptop", "--script", "--set", "python=/usr/bin/python3").stdout
    assert "/usr/bin/python3 @run_dir@/laptop/expected.py python=" in again


def test_check_says_the_same(pilotage, tmp_path):
    import json

    python = environment(tmp_path / "env", {"parsl": "2025.1.6"})
    done = pilotage("check", "laptop", "--submit", "--json", "--set", f"python={python}")
    assert done.returncode == 1, done.stderr
    (site,) = json.loads(done.stdout)["sites"]
    found = {one["probe"]: one for one in site["findings"]}["python"]
    has = own()
    assert found["message"] == f"{python} has parsl 2025.1.6 (driver: {has['parsl']})"
    assert found["hint"] == f"{python} -m pip install parsl=={has['parsl']}"
    answer = subprocess.run(
        [python, expected.__file__, f"python={OWN}", f"parsl={has['parsl']}", "--"], capture_output=True, text=True
    )
    assert f"{found['message']}; to mend it: {found['hint']}\n" in answer.stderr
