"""Every bad input through the real command line: file, line, key, expectation and hint; exit code 2; no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "pilotage"

SCRIPT = (
    "import parsl\nfrom parsl import python_app\n@python_app\ndef f(): return 1\nparsl.load()\nprint(f().result())\n"
)
OWN = "import parsl\nfrom parsl.config import Config\nprint('before')\nparsl.load(Config())\n"
HIDDEN = "import parsl\nfrom parsl.config import Config\nimport sys\nprint('before')\nif sys.argv:\n    parsl.load(Config())\n"
TWO = (
    "from parsl.config import Config\nfrom parsl.executors import ThreadPoolExecutor as T\n"
    "config = Config(executors=[T(label='a'), T(label='b')])\n"
)

# name: (site file, script or None, arguments of pilotage, words of the message)
CASES = {
    "malformed TOML": ("[site.x\n", SCRIPT, "run s.py", ["pilotage.toml", "line 1", "not valid TOML"]),
    "wrong type": ('[site.x]\nextends = "slurm"\nmax_blocks = "many"\n', SCRIPT, "run s.py --site x", [":3", "max_blocks"]),
    "unknown key": ('[site.x]\nextends = "slurm"\nqueu = 1\n', SCRIPT, "site show x", [":3", "site.x.queu", "known keys"]),
    "near key": ('[site.x]\nextends = "slurm"\npartion = "p"\n', SCRIPT, "site show x", ["did you mean 'partition'?"]),
    "missing key": ('[site.x]\nscheduler = "kubernetes"\n', SCRIPT, "run s.py --site x", [":1", "image"]),
    "unknown scheduler": ('[site.x]\nscheduler = "slrum"\n', SCRIPT, "site show x", [":2", "did you mean 'slurm'?"]),
    "extends nothing": ('[site.x]\nextends = "y"\n', SCRIPT, "site show x", [":2", "no such site", "known sites"]),
    "extends in a circle": ('[site.x]\nextends = "x"\n', SCRIPT, "site show x", [":2", "x -> x"]),
    "unknown site": ("", SCRIPT, "run s.py --site polari", ["no site 'polari'", "did you mean 'polaris'?"]),
    "missing script": ("", None, "run s.py", ["s.py", "no such script"]),
    "a folder": ("", None, "run .", ["folder", "hint"]),
    "a script that does not parse": ("", "x = (\n", "run s.py", ["s.py:1", "does not parse"]),
    "unknown argument of Parsl": (
        '[site.x]\nextends = "slurm"\n[site.x.provider]\ncmd_timeut = 3\n', SCRIPT, "run s.py --site x",
        [":4", "site.x.provider.cmd_timeut", "SlurmProvider has no argument", "did you mean 'cmd_timeout'?"],
    ),
    "rejected argument of Parsl": (
        '[site.x]\nextends = "laptop"\n[site.x.executor]\nheartbeat_period = "often"\n', SCRIPT, "run s.py --site x",
        [":4", "site.x.executor.heartbeat_period", "not an instance of int"],
    ),
    "rejected argument of Config": (
        '[site.x]\nextends = "threads"\nconfig = { retries = "few" }\n', SCRIPT, "run s.py --site x",
        [":3", "site.x.config.retries", "not an instance of int"],
    ),
    "unknown launcher": (
        '[site.x]\nextends = "slurm"\nlauncher.class = "SrunLaucher"\n', SCRIPT, "site show x --script",
        [":3", "site.x.launcher.class", "did you mean 'SrunLauncher'?"],
    ),
    "unknown launcher of ours": (
        '[site.x]\nextends = "slurm"\nlauncher.class = "srn"\n', SCRIPT, "site show x --script",
        [":3", "site.x.launcher", "did you mean 'srun'?", "openmpi"],
    ),
    "unknown provider": (
        '[site.x]\nscheduler = "parsl"\nprovider.class = "LFSProvider"\n', SCRIPT, "run s.py --site x",
        [":3", "site.x.provider.class", "did you mean 'LSFProvider'?"],
    ),
    "a key in the wrong table": (
        '[site.x]\nextends = "slurm"\n[site.x.provider]\npartition = "p"\n', SCRIPT, "site validate x",
        [":4", "site.x.provider.partition", "write it in [site.x]"],
    ),
    "two sites under one label": ("", SCRIPT, "run s.py --site a=laptop --site a=threads", ["label 'a'", "its own"]),
    "two sites without labels": ("", SCRIPT, "run s.py --site laptop --site threads", ["no label", "--site cpu=lab"]),
    "a reserved label": ("", SCRIPT, "run s.py --site all=laptop", ["'all'", "label"]),
    "a value for an absent label": ("", SCRIPT, "run s.py --site laptop --set gpu:max_blocks=3", ["'gpu'", "--set"]),
    "an assignment without a value": ("", SCRIPT, "run s.py --set walltime", ["--set", "key=value"]),
    "conflicting Config values": (
        '[site.x]\nextends="threads"\nconfig={retries=1}\n[site.y]\nextends="threads"\nconfig={retries=2}\n', SCRIPT,
        "run s.py --site a=x --site b=y", ["retries", "site.y.config.retries", ":6"],
    ),
    "a Config of the script's own": ("", OWN, "run s.py --site laptop", ["s.py:5", "--override", "without --site"]),
    "a Config under a condition": ("", HIDDEN, "run s.py --site laptop", ["s.py:7", "--override", "without --site"]),
    "a config file that is missing": ("", SCRIPT, "run s.py --site ./none.py", ["none.py", "no such file"]),
    "an unset variable": ("", SCRIPT, ["run", "s.py", "--site", ""], ["--site names no site", "unset"]),
    "extends from outside": ("", SCRIPT, "site show laptop --set extends=slurm", ["extends cannot be set"]),
    "a run folder of the site's": ("", SCRIPT, "run s.py --site laptop --set config.run_dir=x", ["config.run_dir", "each run"]),
    "a login that is an option": ("", SCRIPT, "run s.py --site slurm --set login=-x", ["login", "is no host"]),
    "an export that Parsl lacks": ("", SCRIPT, "site export ssh-pool", ["ssh", "no stand-alone Parsl config"]),
    "an export of Flux": ("", SCRIPT, "site export flux", ["no stand-alone Parsl config", "flux alloc", "WrappedLauncher"]),
    "an absent interface": ("", SCRIPT, "run s.py --site polaris", ["bond0", "--set address=IP"]),
    "an environment of a folder": ("", SCRIPT, "run --env . s.py", [". is no file", "requirements.txt"]),
    "an environment of no file": ("", SCRIPT, "run --env no.txt s.py", ["there is no file no.txt"]),
    "an unknown option": ("", SCRIPT, "run s.py --nonsense", ["No such option"]),
}  # fmt: skip


@pytest.fixture
def case(project, user_file):
    def prepare(text, script):
        user_file(text)
        if script is not None:
            (project / "s.py").write_text(script)

    return prepare


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name, case, pilotage):
    text, script, arguments, words = CASES[name]
    # Whatever can be known before is told before the script has begun.
    begun = "" if script is None or name == "a script that does not parse" else "print('begun')\n"
    case(text, script and script + "#" if not begun else begun + script)
    begins = name == "a Config under a condition"
    start = pilotage if begins else pilotage.ask
    done = start(*(arguments if isinstance(arguments, list) else arguments.split()))
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ("begun\nbefore\n" if begins else "")
    for word in words:
        assert word in done.stderr, done.stderr


def test_an_environment_whose_file_has_a_line_break_in_its_name(case, project, pilotage):
    case("", SCRIPT)
    (project / "two\nlines.txt").write_text("")
    done = pilotage.ask("run", "--env", "two\nlines.txt", "s.py")
    assert (done.returncode, "two\\nlines.txt' cannot be taken" in done.stderr) == (2, True), done.stderr


def test_nothing_is_started_before_the_conflict_is_told(case, project, pilotage):
    case("", OWN)
    done = pilotage("run", "s.py", "--site", "laptop")
    assert done.stdout == "", "the script has not begun"
    assert not (project / "runinfo").exists()


def test_a_config_file_without_a_config(case, project, pilotage):
    case("", SCRIPT)
    (project / "c.py").write_text("x = 1\n")
    done = pilotage("run", "s.py", "--site", "./c.py")
    assert done.returncode == 2
    assert "neither config" in done.stderr
    (project / "c.py").write_text("x = 1\ny = 1 / 0\n")
    done = pilotage("run", "s.py", "--site", "./c.py")
    assert done.returncode == 2
    assert "c.py:2" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    (project / "c.py").write_text(TWO)
    done = pilotage("run", "s.py", "--site", "x=./c.py", "--site", "y=threads")
    assert done.returncode == 2
    assert "2 executors (a, b)" in done.stderr


def test_errors_as_json(case, pilotage):
    case("", SCRIPT)
    done = pilotage("run", "s.py", "--site", "polari", "--json")
    error = json.loads(done.stdout)
    assert done.returncode == error["exit_code"] == 2
    assert error["error"] == "UnknownSiteError"
    assert "polaris" in error["hint"]


@pytest.mark.parametrize(("closing", "out"), [(">&-", ""), ("2>&-", "1\n")])
def test_closed_streams(closing, out, case, pilotage):
    case("", SCRIPT)
    for command in ("run s.py --site threads --quiet", "site list"):
        done = pilotage.run(["bash", "-c", f"{PROGRAM} {command} {closing}"])
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout == out or (out and "polaris" in done.stdout)


def test_a_reader_that_has_seen_enough(case, pilotage):
    case("", SCRIPT)
    done = pilotage.run(["bash", "-c", f"{PROGRAM} site list | head -1"])
    assert (done.stdout.split()[0], done.stderr) == ("NAME", "")


def test_a_current_folder_that_is_gone(tmp_path, pilotage):
    done = pilotage.run(
        ["bash", "-c", f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; {PROGRAM} site list"]
    )
    assert done.returncode == 2
    assert "not there any more" in done.stderr


def test_debug_shows_the_traceback(case, pilotage):
    case("", SCRIPT)
    done = pilotage("run", "s.py", "--site", "polari", "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the full disk covers the code")
def test_an_unwritable_state_folder(case, tmp_path, pilotage):
    case("", SCRIPT)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    done = pilotage("run", "s.py", env={"PILOTAGE_STATE": str(locked / "state")})
    assert (done.returncode, done.stdout) == (2, "")
    assert "PILOTAGE_STATE" in done.stderr


def test_a_file_where_the_state_folder_should_be(case, tmp_path, pilotage):
    case("", SCRIPT)
    (tmp_path / "file").write_text("")
    done = pilotage("run", "s.py", env={"PILOTAGE_STATE": str(tmp_path / "file" / "state")})
    assert (done.returncode, done.stdout) == (2, "")
    assert str(tmp_path / "file") in done.stderr
    assert "hint: a file stands where a folder is needed" in done.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 512 kB, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk):
    descriptor = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, b"x" * 4096)
    except OSError:
        os.close(descriptor)


def test_a_full_disk_at_the_start(case, small_disk, pilotage):
    case("", SCRIPT)
    fill(small_disk)
    done = pilotage("run", "s.py", env={"PILOTAGE_STATE": str(small_disk / "state")})
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "the disk is full" in done.stderr
    assert str(small_disk) in done.stderr


def test_a_full_disk_when_parsl_starts(case, small_disk, pilotage):
    case(
        "",
        f"import subprocess\nsubprocess.run(['sh', '-c', 'cat /dev/zero > {small_disk}/filler 2>/dev/null'])\n"
        + SCRIPT,
    )
    done = pilotage("run", "s.py", "--site", "laptop", env={"PILOTAGE_STATE": str(small_disk / "state")})
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "the disk is full" in done.stderr


def test_a_disk_that_fills_during_the_run_does_not_change_the_result(case, small_disk, pilotage):
    case(
        "",
        SCRIPT
        + f"import subprocess\nsubprocess.run(['sh', '-c', 'cat /dev/zero > {small_disk}/filler 2>/dev/null'])\n",
    )
    done = pilotage("run", "s.py", "--site", "threads", env={"PILOTAGE_STATE": str(small_disk / "state")})
    assert (done.returncode, done.stdout) == (0, "1\n")
    # The journal's reserve made room for the last word.
    (record,) = (small_disk / "state" / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["state"] == "finished"
