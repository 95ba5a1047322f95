"""``pilotage run``: which config ``parsl.load()`` gets, and where labelled apps go."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "pilotage"

APP = "import parsl, os\nfrom parsl import python_app\n@python_app\ndef pid(): import os; return os.getpid()\n"
WHERE = "print('elsewhere' if pid().result() != os.getpid() else 'here')\n"

# Each way to reach parsl.load(); all get the site's config.
WAYS = {
    "attribute": "parsl.load()\n",
    "none": "parsl.load(None)\n",
    "keyword": "parsl.load(config=None)\n",
    "imported": "from parsl import load\nload()\n",
    "renamed": "from parsl import load as begin\nbegin()\n",
    "loader": "from parsl.dataflow.dflow import DataFlowKernelLoader\nDataFlowKernelLoader.load()\n",
    "in a function": "def main():\n    parsl.load()\nmain()\n",
    "in a thread": "import threading\nt = threading.Thread(target=parsl.load)\nt.start(); t.join()\n",
    "pilotage": "import pilotage\npilotage.load()\n",
    "pilotage config": "import pilotage\nparsl.load(pilotage.config())\n",
}


@pytest.fixture
def script(project):
    def write(text, name="s.py"):
        (project / name).write_text(text)
        return name

    return write


def alone():
    """Yield each way with each site; all but a few on workers are left to the whole suite."""
    often = ("attribute", "in a thread", "pilotage config")
    for way in WAYS:
        for site, place in (("threads", "here"), ("laptop", "elsewhere")):
            marks = [] if site == "laptop" and way in often else pytest.mark.slow
            yield pytest.param(way, site, place, marks=marks, id=f"{way}-{site}")


@pytest.mark.parametrize(("way", "site", "place"), list(alone()))
def test_parsl_load_gets_the_sites_config(way, site, place, script, pilotage, private_home):
    done = pilotage("run", script(APP + WAYS[way] + WHERE), "--site", site)
    assert (done.returncode, done.stdout) == (0, f"{place}\n"), done.stderr
    assert not Path("runinfo").exists()
    assert len(list((private_home / "state" / "runs").iterdir())) == 1, "one run, one folder"


def test_each_way_to_load_gets_it_one_after_the_other(script, pilotage, private_home):
    end = "parsl.dfk().cleanup()\nparsl.clear()\n"
    text = APP + "".join(f"{way}print(sorted(parsl.dfk().executors))\n{end}" for way in WAYS.values())
    done = pilotage("run", script(text), "--site", "mine=threads")
    assert (done.returncode, done.stdout) == (0, "['_parsl_internal', 'mine']\n" * len(WAYS)), done.stderr
    assert not Path("runinfo").exists()
    assert len(list((private_home / "state" / "runs").iterdir())) == 1, "one run, one folder"


def test_the_default_site_is_meant_where_none_is_named(script, pilotage, user_file):
    path = user_file('default_site = "threads"\n')
    assert pilotage("run", script(APP + "parsl.load()\n" + WHERE)).stdout == "here\n"
    path.write_text('# mine\ndefault_site = "thread"\n')
    done = pilotage.ask("run", "s.py")
    assert done.returncode == 2
    assert f"{path}:2: default_site" in done.stderr


def test_a_second_load_gets_it_again(script, pilotage):
    text = APP + "for _ in range(2):\n    with parsl.load():\n        " + WHERE
    done = pilotage("run", script(text), "--site", "laptop")
    assert done.stdout == "elsewhere\nelsewhere\n", done.stderr
    assert "2 tasks done" in done.stderr


def test_a_script_with_its_own_config_runs_as_it_is(script, pilotage):
    text = APP + "from parsl.config import Config\nparsl.load(Config(run_dir='own'))\n" + WHERE
    done = pilotage("run", script(text))
    assert done.stdout == "here\n", done.stderr
    assert Path("own").exists()


def test_override_puts_the_site_in_its_place(script, pilotage):
    text = APP + "from parsl.config import Config\nparsl.load(Config(run_dir='own'))\n" + WHERE
    done = pilotage("run", script(text), "--site", "laptop", "--override")
    assert done.stdout == "elsewhere\n", done.stderr
    assert not Path("own").exists()


def test_a_kernel_made_by_hand_is_a_config_of_its_own(script, pilotage):
    text = APP + (
        "from parsl.config import Config\nfrom parsl.dataflow.dflow import DataFlowKernel\n"
        "k = DataFlowKernel(Config())\nprint('made')\nk.cleanup()\n"
    )
    done = pilotage("run", script(text), "--site", "laptop")
    assert (done.returncode, done.stdout) == (2, "")
    assert "s.py:7" in done.stderr
    assert pilotage("run", script(text)).stdout == "made\n"


@pytest.mark.parametrize(
    ("maker", "sites", "labels"),
    [
        ("config = C()", ["./c.py"], ["mine"]),
        ("def fresh_config(): return C()", ["x=./c.py", "y=threads"], ["x", "y"]),
        pytest.param("config = C()", ["x=./c.py", "y=threads"], ["x", "y"], marks=pytest.mark.slow),
        pytest.param("def fresh_config(): return C()", ["./c.py"], ["mine"], marks=pytest.mark.slow),
    ],
)
def test_any_module_with_a_config_serves_as_a_site(maker, sites, labels, script, pilotage):
    head = "from parsl.config import Config\nfrom parsl.executors import ThreadPoolExecutor\n"
    script(head + "def C(): return Config(executors=[ThreadPoolExecutor(label='mine')])\n" + maker + "\n", "c.py")
    text = APP + "parsl.load()\nprint(sorted(parsl.dfk().executors))\n"
    done = pilotage("run", script(text), *(word for site in sites for word in ("--site", site)))
    assert done.stdout == f"{['_parsl_internal', *labels]}\n", done.stderr


TWO_LABELS = APP + (
    "@python_app(executors=['gpu'])\ndef gpu(): import os; return os.getpid()\n"
    "@python_app(executors=['cpu'])\ndef cpu(): import os; return os.getpid()\n"
    "parsl.load()\n"
    "print(gpu().result() == os.getpid(), cpu().result() == os.getpid(), gpu().result() == os.getpid())\n"
)


def test_several_sites_under_labels(script, pilotage):
    done = pilotage("run", script(TWO_LABELS), "--site", "gpu=threads", "--site", "cpu=laptop")
    assert done.stdout == "True False True\n", done.stderr
    assert "gpu=threads, cpu=laptop" in done.stderr


def test_a_label_that_is_not_there_goes_to_the_only_site_and_is_told_once(script, pilotage):
    done = pilotage("run", script(TWO_LABELS), "--site", "threads")
    assert done.stdout == "True True True\n", done.stderr
    assert done.stderr.count("no executor 'gpu' in this run") == 1
    assert done.stderr.count("no executor 'cpu' in this run") == 1


def test_with_several_sites_it_is_an_error(script, pilotage):
    done = pilotage("run", script(TWO_LABELS), "--site", "gpux=threads", "--site", "cpu=laptop")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "asks for the executor 'gpu'" in done.stderr
    assert "did you mean 'gpux'?" in done.stderr


def test_a_label_is_told_once_in_a_run_of_two_kernels(script, pilotage):
    text = APP + (
        "@python_app(executors=['gpu'])\ndef gpu(): return 1\n"
        "for _ in range(2):\n    with parsl.load():\n        print(gpu().result())\n"
    )
    done = pilotage("run", script(text), "--site", "threads")
    assert done.stdout == "1\n1\n"
    assert done.stderr.count("no executor 'gpu'") == 1
    assert pilotage("run", "s.py", "--site", "threads", "--quiet").stderr == ""


@pytest.mark.parametrize(
    "swallow",
    ["try:\n    parsl.load(Config())\nexcept:\n    pass\n", "T(target=parsl.load, args=(Config(),)).start()\n"],
)
def test_a_refusal_cannot_be_swallowed(swallow, script, pilotage):
    text = APP + "from parsl.config import Config\nfrom threading import Thread as T\n" + swallow + "print('on')\n"
    done = pilotage("run", script(text), "--site", "threads")
    assert done.returncode == 2
    assert "--override" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_forked_child_leaves_parsl_alone(script, pilotage):
    text = APP + (
        "parsl.load()\nfirst = pid().result()\npid_ = os.fork()\nif pid_ == 0:\n    raise SystemExit(0)\n"
        "os.waitpid(pid_, 0)\nprint(pid().result() != os.getpid())\n"
    )
    done = pilotage("run", script(text), "--site", "laptop")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_a_script_deals_with_its_own_configs_troubles(script, pilotage):
    text = APP + (
        "from parsl.config import Config\ntry:\n    parsl.load(Config(run_dir='/proc/nope'))\n"
        "except OSError:\n    parsl.load(Config())\n"
    )
    done = pilotage("run", script(text + WHERE))
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_signal_detaches_the_view_and_cancel_ends_the_workers(number, script, pilotage):
    """The fixture fails when a process is left."""
    text = APP + (
        "@python_app\ndef long(): import time; time.sleep(60)\n"
        "parsl.load()\npid().result()\nx = long()\nprint('ready', flush=True)\nx.result()\n"
    )
    argv = [PROGRAM, "run", script(text), "--site", "laptop"]
    with subprocess.Popen(argv, env=pilotage.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(30) == -number
    assert json.loads(pilotage.ask("ps", "--json").stdout)["runs"][0]["state"] == "running"
    done = pilotage("cancel", "@last")
    assert (done.returncode, done.stdout.split(maxsplit=1)[1]) == (0, "has ended (cancelled)\n"), done.stderr


@pytest.mark.skipif(shutil.which("ps") is None, reason="Parsl's own LocalProvider needs ps to end its workers")
def test_a_config_file_sees_its_siblings_and_needs_no_path(script, pilotage, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "beside.py").write_text("LABEL = 'beside'\n")
    (folder / "c.py").write_text(
        "from beside import LABEL\nfrom parsl.config import Config\n"
        "from parsl.executors import HighThroughputExecutor\n"
        "config = Config([HighThroughputExecutor(LABEL, address='127.0.0.1')], strategy_period=0.1)\n"
    )
    text = APP + "with parsl.load():\n    " + WHERE
    done = pilotage("run", script(text), "--site", str(folder / "c.py"), env={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (0, "elsewhere\n"), done.stderr


def test_the_run_folder_is_private_and_what_was_shown_is_what_is_run(script, pilotage, private_home):
    shown = pilotage("site", "show", "laptop", "--script").stdout
    text = APP + "parsl.load()\nprint(pid().result() > 0)\n"
    record = json.loads(pilotage("run", script(text), "--site", "laptop", "--json").stdout)
    folder = Path(record["folder"])
    assert folder.parent == private_home / "state" / "runs"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("run.json", "order.json", "progress.json", "driver.log", "journal.jsonl"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    others = dict.fromkeys(("waiting", "launched", "failed", "reused", "changed"), 0)
    assert record["tasks"] == {"done": 1, "total": 1, **others}
    assert json.loads((folder / "run.json").read_text())["id"] == record["id"]

    # The block's script in the run's folder is the one that site show prints, with the placeholders filled in.
    (path,) = folder.glob("parsl/000/submit_scripts/*.sh")
    run = path.read_text()
    assert len(run.splitlines()) == len(shown.splitlines())
    for theirs, ours in zip(run.splitlines(), shown.splitlines(), strict=True):
        words = zip(theirs.split(), ours.split(), strict=True)
        assert all(a == b or "@" in b for a, b in words), (theirs, ours)


@pytest.mark.parametrize("site", [pytest.param("threads", marks=pytest.mark.slow), "laptop"])
def test_tasks_that_run_when_the_script_ends_are_finished(site, script, pilotage):
    text = APP + (
        "@python_app\ndef late(path):\n    import time; time.sleep(0.5)\n    open(path, 'w').write('done')\n"
        "parsl.load()\nlate(os.path.abspath('late.txt'))\n"
    )
    assert pilotage("run", script(text), "--site", site).returncode == 0
    assert Path("late.txt").read_text() == "done"


def test_a_failing_script_ends_its_workers(script, pilotage):
    """The fixture fails when a process is left; here the script dies with tasks running."""
    text = APP + (
        "@python_app\ndef long(): import time; time.sleep(60)\n"
        "parsl.load()\npid().result()\nlong()\nraise OSError('x')\n"
    )
    done = pilotage("run", script(text), "--site", "laptop")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert "pilotage" not in done.stderr
    assert "OSError: x\n" in done.stderr


def test_a_scripts_own_cleanup_is_fine(script, pilotage):
    text = "import atexit\n" + APP + "parsl.load()\natexit.register(parsl.dfk().cleanup)\nprint(pid().result() > 0)\n"
    done = pilotage("run", script(text), "--site", "laptop")
    assert (done.returncode, done.stdout) == (0, "True\n")
    assert "Exception" not in done.stderr


def test_a_tasks_traceback_names_the_scripts_lines(script, pilotage):
    text = APP + "@python_app\ndef bad():\n    return 1 / 0\nparsl.load()\nbad().result()\n"
    done = pilotage("run", script(text), "--site", "laptop")
    assert done.returncode == 1
    assert "in bad" in done.stderr
    ours, _, summary = done.stderr.partition("1 task failed")
    assert "pilotage" not in ours.replace(str(Path.cwd()), "")
    assert "1 x bad: ZeroDivisionError: division by zero (task 0)" in summary
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.slow
def test_pilotage_load_in_plain_python(script, pilotage):
    text = APP + "import pilotage\nwith pilotage.load('laptop', max_workers_per_node=1):\n    " + WHERE
    done = pilotage.run([sys.executable, script(text)])
    assert (done.returncode, done.stdout) == (0, "elsewhere\n"), done.stderr


def test_a_state_folder_with_spaces_and_quotes(script, pilotage, tmp_path):
    odd = tmp_path / 'it\'s a $HOME "of" {runs}'
    text = APP + "parsl.load()\n" + WHERE
    done = pilotage("run", script(text), "--site", "laptop", env={"PILOTAGE_STATE": str(odd)})
    assert done.stdout == "elsewhere\n", done.stderr


def test_a_config_that_nobody_loads_leaves_nothing(script, pilotage, private_home):
    text = "import parsl, pilotage\nunused, used = (pilotage.config('threads') for _ in range(2))\n"
    text += "with parsl.load(used) as kernel: print(kernel.run_dir)\n"
    done = pilotage.run([sys.executable, script(text)])
    (folder,) = (private_home / "state" / "runs").iterdir()
    assert done.stdout == f"{folder}/parsl/000\n", done.stderr


def test_a_state_folder_that_cannot_be_written_to_is_told_by_config(monkeypatch):
    import pilotage as package
    from pilotage.errors import StorageError

    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(StorageError, match="Permission denied"):
        package.config("threads")


def test_config_is_a_plain_parsl_config(project):
    from parsl.config import Config

    import pilotage

    made = pilotage.config("laptop", max_workers_per_node=3, config={"retries": 2})
    assert type(made) is Config
    (executor,) = made.executors
    assert (executor.address, executor.encrypted, executor.label) == ("127.0.0.1", True, "laptop")
    assert executor.max_workers_per_node == 3
    assert (made.retries, made.usage_tracking) == (2, 0)
    assert executor.launch_cmd.split()[0] == sys.executable
    assert "max_workers_per_node=3" in repr(made)
    other = pilotage.config("laptop")
    assert other.run_dir != made.run_dir
    assert stat.S_IMODE(os.stat(Path(made.run_dir).parents[1]).st_mode) == 0o700
    both = pilotage.config({"a": "laptop", "b": "threads"})
    assert [e.label for e in both.executors] == ["a", "b"]


def test_parsls_monitoring_works_under_it(script, pilotage, project):
    """Its database is what the run's own start leaves out until it is used."""
    name = script(
        APP + "import pilotage\nfrom parsl.monitoring import MonitoringHub\n"
        "if __name__ == '__main__':\n"  # the database's process imports the script
        "    config = pilotage.config('laptop')\n"
        f"    config.monitoring = MonitoringHub(logging_endpoint='sqlite:///{project}/seen.db')\n"
        "    parsl.load(config)\n    print(len({pid().result() for _ in range(3)}) > 0)\n"
    )
    done = pilotage("run", name)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    with contextlib.closing(sqlite3.connect(project / "seen.db")) as database:
        assert database.execute("select count(*) from task").fetchone() == (3,)
