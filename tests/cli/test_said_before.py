"""What would fail later without a word is told before the run, or as it happens."""

import json

import pytest

APP = "import parsl\nfrom parsl import python_app\n@python_app\ndef f(): return 1\n"
SCRIPT = APP + "parsl.load()\nprint(f().result())\n"


@pytest.fixture
def script(project):
    (project / "s.py").write_text(SCRIPT)
    return project / "s.py"


def test_a_worker_init_that_fails_ends_the_block_in_its_words(script, pilotage, user_file):
    user_file('[site.wrong]\nextends = "laptop"\nworker_init = "export A=1\\nmodulo load gcc"\n')
    done = pilotage("run", script, "--site", "wrong")
    assert (done.returncode, done.stdout) == (1, "")
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("pilotage: block 0 of wrong has ")]
    assert "worker_init failed (exit code 127): modulo load gcc" in told


def test_what_a_worker_init_lets_pass_passes(script, pilotage, user_file):
    text = '"""\n[ -f /nowhere ] && echo x\nfalse || true\nif false; then :; fi\n. ./sourced\n"""'
    (script.parent / "sourced").write_text("false\ntrue\n")
    user_file(f'[site.right]\nextends = "laptop"\nworker_init = {text}\n')
    done = pilotage("run", script, "--site", "right")
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize(("site", "command"), [("slurm", "s"), ("pbspro", "q"), ("gridengine", "q"), ("flux", "flux")])
def test_a_scheduler_that_is_not_here_is_told_before_the_script_runs(script, site, command, pilotage, tmp_path):
    (script.parent / "s.py").write_text("print('ran')\n" + SCRIPT)
    done = pilotage.ask("run", script, "--site", site, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert f"this machine has no {command}" in done.stderr
    assert "hint: " in done.stderr


def test_an_option_of_the_scripts_is_pointed_behind_the_dashes(script, pilotage):
    done = pilotage.ask("run", script, "--n", "5")
    assert done.returncode == 2
    assert "What is for the script comes after --: SCRIPT -- --n" in done.stderr


def test_export_replaces_a_file_only_when_told_to(project, pilotage):
    (project / "mine.py").write_text("# mine\n")
    done = pilotage.ask("site", "export", "threads", "-o", "mine.py")
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (project / "mine.py").read_text() == "# mine\n"
    assert pilotage.ask("site", "export", "threads", "-o", "mine.py", "--force").returncode == 0
    assert "parsl" in (project / "mine.py").read_text()


def test_a_file_named_like_a_module_of_pythons_disturbs_nothing(script, pilotage, project):
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "glob.py").write_text("raise RuntimeError('the wrong glob')\n")
    done = pilotage("run", script, cwd=elsewhere)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize(
    "load",
    [
        "from parsl.config import Config\nfrom parsl.executors import ThreadPoolExecutor\n"
        "parsl.load(Config([ThreadPoolExecutor()]))\n",
        "import pilotage\npilotage.load('threads')\n",
    ],
)
def test_the_summary_names_no_site_that_was_not_used(project, load, pilotage):
    (project / "s.py").write_text(APP + load + "print(f().result())\n")
    done = pilotage("run", "s.py")
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert "the script's own config" in done.stderr
    assert json.loads(pilotage.ask("ps", "--json").stdout)["runs"][0]["own_config"] is True


def test_sites_that_are_no_table_are_told_as_what_they_are(project, pilotage):
    (project / "pilotage.toml").write_text("site = [1, 2]\n")
    done = pilotage.ask("site", "list")
    assert done.returncode == 2
    assert "pilotage.toml:1: site: expected a table, got [1, 2]" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('keep = "30 days"', "'30 days' is no span of time"),
        ("keep = 30", "30 is no span of time"),
        ('max_size = "10"', "'10' is no size"),
        ('kep = "30d"', "did you mean 'keep'?"),
    ],
)
def test_a_wrong_limit_of_the_store_has_its_place(text, words, project, pilotage):
    (project / "pilotage.toml").write_text(f"[runs]\n{text}\n")
    done = pilotage.ask("clean")
    assert done.returncode == 2
    assert "pilotage.toml:2" in done.stderr
    assert words in done.stderr
