"""The commands around sites."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def test_list(project, pilotage, user_file):
    path = user_file('[site.mine]\nextends = "slurm"\ndescription = "my own"\n[site.bad]\nscheduler = "x"\n')
    done = pilotage.ask("site", "list", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["sites"]}
    assert rows["mine"] == {
        "name": "mine", "scheduler": "slurm", "source": str(path), "description": "my own", "error": None
    }  # fmt: skip
    assert rows["bad"]["error"]["error"] == "SiteValueError"
    assert "polaris" in pilotage("site", "list").stdout


def test_show_is_toml_that_could_stand_in_a_file(project, pilotage):
    shown = tomllib.loads(pilotage("site", "show", "polaris", "--set", "account=x").stdout)
    assert shown["site"]["polaris"]["account"] == "x"
    assert shown["site"]["polaris"]["launcher"]["class"] == "pals"


def test_show_origin(project, pilotage, user_file):
    path = user_file('[site.polaris]\n\naccount = "a"\n')
    lines = pilotage.ask("site", "show", "polaris", "--origin", "--set", "max_blocks=3").stdout.splitlines()
    by_key = {line.split()[0]: line.split()[-1] for line in lines}
    assert by_key["account"] == f"{path}:3"
    assert by_key["max_blocks"] == "--set"
    assert re.search(r"/sites/builtin.toml:\d+$", by_key["queue"])
    assert by_key["parallelism"] == "default"


@pytest.mark.parametrize(
    "name", ["laptop", "slurm", "pbspro", "gridengine", "flux", "kubernetes", "ssh-pool", "polaris"]
)
def test_show_script_needs_nothing_of_the_scheduler(name, project, pilotage, tmp_path):
    python = os.path.dirname(sys.executable)
    done = pilotage.ask("site", "show", name, "--script", env={"PATH": python})
    assert done.returncode == 0, done.stderr
    assert "@job_name@" in done.stdout or name == "kubernetes"
    assert "process_worker_pool" in done.stdout or "pilotage.worker.pool" in done.stdout


def test_export_to_a_file_runs_with_parsl_alone(project, pilotage):
    assert pilotage("site", "export", "threads", "-o", "mine.py").returncode == 0
    program = (
        "import parsl, mine, sys\nassert not any('pilotage' in name for name in sys.modules)\n"
        "with parsl.load(mine.fresh_config()):\n    print(parsl.python_app(lambda: 6 * 7)().result())\n"
    )
    done = pilotage.run([sys.executable, "-c", program])
    assert done.stdout == "42\n", done.stderr


def test_validate(project, pilotage, user_file):
    done = pilotage.ask("site", "validate")
    assert done.returncode == 0, done.stderr
    assert "laptop: ok" in done.stderr
    assert "ssh-pool: ok" in done.stderr
    user_file('[site.a]\nextends = "slurm"\nqoss = "x"\n[site.b]\nextends = "slurm"\nexecutor = { labl = 1 }\n')
    done = pilotage.ask("site", "validate")
    assert done.returncode == 2
    assert "qoss" in done.stderr
    assert "labl" in done.stderr
    report = json.loads(pilotage.ask("site", "validate", "a", "laptop", "--json").stdout)
    assert [row["ok"] for row in report["sites"]] == [False, True]


class TestAdd:
    def test_this_machine(self, project, pilotage, private_home):
        done = pilotage.ask("site", "add", "mine", "--yes", "--scheduler", "local")
        assert done.returncode == 0, done.stderr
        path = private_home / "config" / "pilotage" / "pilotage.toml"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        site = tomllib.loads(path.read_text())["site"]["mine"]
        assert site["scheduler"] == "local"
        assert "# one worker a core" in path.read_text()
        assert pilotage.ask("site", "validate", "mine").returncode == 0

    def test_it_keeps_what_the_file_has(self, project, pilotage, user_file):
        path = user_file('# my sites\ndefault_site = "old"\n\n[site.old]   # keep\nextends = "slurm"\n')
        assert pilotage.ask("site", "add", "mine", "-y", "--scheduler", "local").returncode == 0
        text = path.read_text()
        assert text.startswith('# my sites\ndefault_site = "old"\n\n[site.old]   # keep\nextends = "slurm"\n')
        assert set(tomllib.loads(text)["site"]) == {"old", "mine"}
        again = pilotage.ask("site", "add", "mine", "-y", "--scheduler", "local")
        assert again.returncode == 2
        assert "--force" in again.stderr
        assert pilotage.ask("site", "add", "mine", "-y", "--scheduler", "local", "--force").returncode == 0
        assert set(tomllib.loads(path.read_text())["site"]) == {"old", "mine"}

    def test_a_broken_file_is_not_touched(self, project, pilotage, user_file):
        path = user_file("[site.x\n")
        done = pilotage.ask("site", "add", "mine", "-y")
        assert done.returncode == 2
        assert path.read_text() == "[site.x\n"

    @pytest.fixture
    def slurm(self, tmp_path):
        """A machine with Slurm's commands, as far as detection asks them."""
        folder = tmp_path / "bin"
        folder.mkdir()
        answers = {
            "sinfo": "debug*|up|30:00|2|4|4000|(null)\ngpu|up|1-00:00:00|8|64|512000|gpu:a100:4(S:0-1)\n",
            "sacctmgr": "physics|ada\nchem|ada\nother|bob\n",
        }
        for name in ("sinfo", "sacctmgr", "sbatch", "squeue", "scancel", "scontrol", "sacct"):
            (folder / f"{name}.out").write_text(answers.get(name, ""))
            (folder / name).write_text(f"#!/bin/sh\ncat '{folder / name}.out'\n")
            (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}", "USER": "ada", "LOGNAME": "ada"}

    def test_slurm_with_a_gpu_partition(self, project, pilotage, slurm, private_home):
        done = pilotage.ask("site", "add", "lab", "-y", "--queue", "gpu", "--nodes", "2", env=slurm)
        assert done.returncode == 0, done.stderr
        site = tomllib.loads((private_home / "config" / "pilotage" / "pilotage.toml").read_text())["site"]["lab"]
        assert (site["scheduler"], site["partition"], site["account"]) == ("slurm", "gpu", "physics")
        assert (site["gpus_per_node"], site["available_accelerators"], site["cores_per_node"]) == (4, 4, 64)
        assert site["launcher"]["class"] == "srun"
        assert "found: slurm: debug, gpu; accounts: physics, chem" in done.stderr
        shown = pilotage.ask("site", "show", "lab", "--script", env=slurm)
        assert "--partition=gpu" in shown.stdout

    def test_the_default_partition_and_its_limit(self, project, pilotage, slurm, private_home):
        assert pilotage.ask("site", "add", "lab", "-y", "--project", env=slurm).returncode == 0
        site = tomllib.loads((project / "pilotage.toml").read_text())["site"]["lab"]
        assert (site["partition"], site["walltime"]) == ("debug", "00:30:00")

    def test_answers_that_do_not_fit(self, project, pilotage, slurm):
        done = pilotage.ask("site", "add", "lab", "-y", "--queue", "gpus", env=slurm)
        assert (done.returncode, "did you mean 'gpu'?" in done.stderr) == (2, True)
        done = pilotage.ask("site", "add", "lab", "-y", "--scheduler", "flux", env=slurm)
        assert (done.returncode, "it has slurm, local" in done.stderr) == (2, True)
        assert pilotage.ask("site", "add", "a b", "-y").returncode == 2

    def test_questions_are_asked_and_answered(self, project, pilotage, slurm, private_home):
        done = pilotage("site", "add", "lab", env=slurm, input="slurm\ngpu\nchem\n")
        assert done.returncode == 0, done.stderr
        site = tomllib.loads((private_home / "config" / "pilotage" / "pilotage.toml").read_text())["site"]["lab"]
        assert (site["partition"], site["account"]) == ("gpu", "chem")
        assert "Partition or queue" in done.stderr, "questions are talk: stdout is data"


def test_help_and_import_load_nothing_heavy():
    """Not a clock: what is slow is imported, or it is not."""
    heavy = {"parsl", "pydantic", "rich", "jinja2", "tomlkit", "psutil", "cloudpickle", "dill", "zmq", "requests"}
    for program in (
        "import pilotage",
        "from pilotage.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
    ):
        code = f"{program}\nimport sys\nprint(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stderr.strip() == "[]", done.stderr


class TestImport:
    TWO = Path(__file__).parents[1] / "sites" / "executors.json"

    def test_two_pools(self, project, pilotage, user_file):
        path = user_file("# mine\n[site.old]\nextends = 'slurm'\n")
        done = pilotage.ask("site", "import", self.TWO)
        assert done.returncode == 0, done.stderr
        assert path.read_text().startswith("# mine\n[site.old]\nextends = 'slurm'\n")
        assert done.stdout.strip() in path.read_text()
        sites = tomllib.loads(path.read_text())["site"]
        assert sorted(sites) == ["myexecutor_1", "myexecutor_2", "old"]
        assert sites["myexecutor_1"]["hosts"] == ["ada@198.51.100.7"]
        for words in (
            "myexecutor_1: only a comment: WORKER_PORT_1, WORKER_PORT_2 (not needed: ports are reserved when a run",
            "warning: myexecutor_1: only a comment: INSTALL_CONDA, LOCAL_CONDA_YAML (make it on",
            "warning: myexecutor_2: without HOST_IP, azurecluster has to be a name that ssh knows",
            f"written: {path}",
            "--site myexecutor_1=myexecutor_1 --site myexecutor_2=myexecutor_2",
        ):
            assert words in done.stderr
        # Every value of the file is somewhere in the site.
        for label, keys in json.loads(self.TWO.read_text()).items():
            for key, value in keys.items():
                shown = value.removeprefix("~/") if isinstance(value, str) else json.dumps(value)
                assert shown in path.read_text(), (label, key)
        for name in ("myexecutor_1", "myexecutor_2"):
            assert pilotage.ask("site", "validate", name).returncode == 0
            assert pilotage.ask("site", "show", name).returncode == 0
            script = pilotage.ask("site", "show", name, "--script").stdout
            assert "conda activate" in script
            assert f":@loopback_port@ python @run_dir@/{name}/expected.py python=" in script
            assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0

    def test_it_is_written_once(self, project, pilotage):
        assert pilotage.ask("site", "import", self.TWO, "--project").returncode == 0
        text = (project / "pilotage.toml").read_text()
        again = pilotage.ask("site", "import", self.TWO, "--project")
        assert (again.returncode, "has a site 'myexecutor_1' already" in again.stderr) == (2, True)
        assert "--force" in again.stderr
        assert pilotage.ask("site", "import", self.TWO, "--project", "--force").returncode == 0
        assert tomllib.loads((project / "pilotage.toml").read_text()) == tomllib.loads(text)

    def test_dry_run_writes_nothing(self, project, pilotage, private_home):
        done = pilotage.ask("site", "import", self.TWO, "--dry-run", "--json")
        told = json.loads(done.stdout)
        assert told["path"] is None
        assert [site["site"] for site in told["sites"]] == ["myexecutor_1", "myexecutor_2"]
        for site, keys in zip(told["sites"], json.loads(self.TWO.read_text()).values(), strict=True):
            assert {*site["became"], *(note["key"] for note in site["notes"])} == set(keys)
        assert tomllib.loads(told["toml"])["site"]["myexecutor_2"]["cores_per_worker"] == 0.5
        assert not (private_home / "config").exists()
        assert "written" not in done.stderr

    def test_keys_that_are_not_known(self, project, pilotage):
        source = project / "executors.json"
        source.write_text('{"a": {"POOL": "p", "RUNDIR": "/x\\u0000\\ny", "\\n[site.b]": 1}}')
        done = pilotage.ask("site", "import", source, "--project")
        assert (done.returncode, "RUNDIR: did you mean 'RUN_DIR'?" in done.stderr) == (2, True)
        assert not (project / "pilotage.toml").exists()
        done = pilotage.ask("site", "import", source, "--project", "--keep-going")
        assert done.returncode == 0, done.stderr
        assert "warning: a: only a comment: RUNDIR, \\n[site.b] (not a key of this form)" in done.stderr
        assert list(tomllib.loads((project / "pilotage.toml").read_text())["site"]) == ["a"]
        assert '# RUNDIR = "/x\\u0000\\ny": not a key of this form' in done.stdout

    @pytest.mark.parametrize(
        ("content", "words"),
        [(None, "cannot be read: No such file"), (b"\xff\xfe", "not UTF-8"), (b"[1]", "not an object of pools")],
    )
    def test_files_that_are_wrong(self, project, pilotage, content, words):
        if content is not None:
            (project / "executors.json").write_bytes(content)
        done = pilotage.ask("site", "import", "executors.json")
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
