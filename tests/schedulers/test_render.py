"""Batch scripts and manifests: as in the golden files, accepted by bash and YAML, and nothing lost on the way."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import SiteValueError
from pilotage.schedulers import NAMES, scheduler
from pilotage.schedulers.base import Block

GOLDEN = Path(__file__).parent / "golden"
WITH_DIRECTIVES = ("slurm", "pbspro", "gridengine", "flux")
COMMAND = "/env/bin/python -m parsl.executors.high_throughput.process_worker_pool -a 192.0.2.1 --cpu-affinity none"


def block(**changes):
    fields = {"name": "@job_name@", "command": COMMAND, "stdout": "@run_dir@/out", "stderr": "@run_dir@/err"}
    return Block(**{**fields, **changes})


# What each golden file shows: the scheduler, and the block.
CASES = {
    "local": ("local", block()),
    "local_worker_init": ("local", block(worker_init="module load conda\nconda activate 'my env'\n")),
    "ssh": ("ssh", block(settings={"hosts": ["ada@node1", "node2"]})),
    "slurm": ("slurm", block()),
    "slurm_full": (
        "slurm",
        block(
            name="parsl.cpu.block-0.1763.5",
            nodes=2,
            tasks_per_node=2,
            walltime="36:00:00",
            stdout="/home/ada/my runs/100%.out",
            worker_init="module load conda",
            command=f"srun --ntasks 4 bash -c '{COMMAND}'",
            settings={
                "partition": "gpu",
                "account": "physics",
                "qos": "high#1",
                "constraint": "a100&[rack1|rack2]",
                "clusters": "c1,c2",
                "cores_per_node": 64,
                "mem_per_node": 200,
                "gpus_per_node": 4,
                "gres": "gpu:a100:4,nvme:1",
                "exclusive": True,
                "reservation": "maint#2",
                "scheduler_options": "#SBATCH --mail-type=END",
            },
        ),
    ),
    "pbspro": ("pbspro", block()),
    "pbspro_full": (
        "pbspro",
        block(
            nodes=2,
            walltime="01:00:00",
            worker_init="export PATH=/soft/bin:$PATH",
            settings={
                "queue": "debug",
                "account": "physics",
                "cpus_per_node": 64,
                "select_options": "ngpus=4",
                "scheduler_options": "#PBS -l filesystems=home:eagle",
            },
        ),
    ),
    "gridengine": ("gridengine", block()),
    "gridengine_full": (
        "gridengine",
        block(
            walltime="100:00:00",
            stdout="/home/ada/my runs/out",
            settings={"queue": "all.q,short.q", "scheduler_options": "#$ -pe mpi 4\n"},
        ),
    ),
    "flux": ("flux", block()),
    "flux_full": (
        "flux",
        block(
            nodes=4,
            walltime="00:30:00",
            stdout="/home/ada/my runs/out",
            command=f"flux run -N4 -n4 {COMMAND}",
            settings={
                "queue": "pdebug",
                "bank": "guests",
                "cores_per_node": 48,
                "gpus_per_node": 8,
                "exclusive": True,
                "scheduler_options": "# flux: --setattr=system.cwd=/tmp",
            },
        ),
    ),
    "kubernetes": ("kubernetes", block(settings={"image": "worker:1"})),
    "kubernetes_full": (
        "kubernetes",
        block(
            name="parsl.kube.block-3",
            nodes=2,
            walltime="02:00:00",
            worker_init="export MODE='a \"b\"'",
            settings={
                "image": "example.org/worker:1",
                "namespace": "physics",
                "init_cpu": 1.5,
                "max_cpu": 2.0,
                "init_mem": "1Gi",
                "max_mem": "2Gi",
                "extra_requests": {"example.org/gpu": "1"},
                "extra_limits": {"example.org/gpu": "1"},
                "user_id": "1000",
                "group_id": "1000",
                "run_as_non_root": True,
                "secret": "pull",
                "persistent_volumes": [("data.claim", "/data"), ("data.claim", "/again")],
                "service_account_name": "runner",
                "annotations": {"example.org/owner": "yes"},
            },
        ),
    ),
}


def rendered(case):
    name, described = CASES[case]
    return scheduler(name).render(described)


def golden_file(case):
    return GOLDEN / f"{case}.{'yaml' if case.startswith('kubernetes') else 'sh'}"


def bash_accepts(script):
    done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b""), script


def shell_text(name, text):
    """Return what bash gets to run of a rendered block."""
    if name != "kubernetes":
        return text
    bash, flag, script = container(pyyaml.safe_load(text))["command"]
    assert (bash, flag) == ("bash", "-c")
    return script


def container(job):
    [only] = job["spec"]["template"]["spec"]["containers"]
    return only


def needed(name):
    return {"image": "worker:1"} if name == "kubernetes" else {}


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    path, text = golden_file(case), rendered(case)
    if os.environ.get("PILOTAGE_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_golden_files_all_have_a_case():
    assert {path.name for path in GOLDEN.iterdir()} == {golden_file(case).name for case in CASES}


def test_every_scheduler_has_a_golden_file():
    assert {name for name, _ in CASES.values()} == set(NAMES)


@pytest.mark.parametrize("case", CASES)
def test_bash_accepts(case):
    name, described = CASES[case]
    text = shell_text(name, rendered(case))
    bash_accepts(text)
    assert text.rstrip("\n").endswith(described.command)


@pytest.mark.parametrize("name", NAMES)
def test_the_head_says_who_wrote_it_for_which_scheduler(name):
    first, second = scheduler(name).render(block(settings=needed(name))).splitlines()[:2]
    head = first if name == "kubernetes" else second
    assert (first == "#!/bin/bash") == (name != "kubernetes")
    assert re.match("# Rendered by pilotage for ", head)
    assert name in head.lower().replace(" ", "")


# What goes in comes out, whatever it is.

printable = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=30)
harmless_lines = st.lists(
    st.one_of(
        printable.map(lambda text: f"export SOME={shlex.quote(text)}"),
        printable.map(lambda text: f"# {text}"),
        st.sampled_from(["true", "f() { :; }", "", "A=$(echo 1)", "cat <<END >&2\nx\nEND", "true\r"]),
    ),
    max_size=4,
)
# A line that goes on, with nothing after it: what follows in the script must not become a part of it.
harmless_init = st.builds(
    lambda lines, last: "\n".join([*lines, *last]), harmless_lines, st.sampled_from([[], ["true \\"]])
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(job=printable, out=printable.map("/runs/{}".format), init=harmless_init)
def test_a_script_runs_and_knows_its_name_or_is_refused(name, job, out, init):
    described = block(
        name=job, stdout=out, stderr=out, worker_init=init, command='printf %s "$JOBNAME"', settings=needed(name)
    )
    try:
        text = shell_text(name, scheduler(name).render(described))
    except SiteValueError:
        assert name in WITH_DIRECTIVES  # there is no value that a shell or YAML cannot hold
        return
    bash_accepts(text)
    done = subprocess.run(["bash", "-s"], input=text.encode(), capture_output=True, timeout=30)
    assert done.stdout.decode() == job, text


@pytest.mark.parametrize("name", ["local", "ssh", "kubernetes"])
def test_a_job_name_with_a_line_break_stays_one_where_no_directive_holds_it(name):
    described = block(name="a\nb", command='printf %s "$JOBNAME"', settings=needed(name))
    text = shell_text(name, scheduler(name).render(described))
    assert subprocess.run(["bash", "-s"], input=text, capture_output=True, text=True).stdout == "a\nb"


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("slurm", {"settings": {"partition": "a\n#SBATCH --uid=0"}}, "partition"),
        ("slurm", {"stdout": "/a\nb"}, "stdout"),
        ("slurm", {"stdout": "/a\\b"}, "backslash"),
        ("slurm", {"name": ""}, "job name is empty"),
        ("slurm", {"settings": {"cores_per_node": "8"}}, "cores_per_node"),
        ("slurm", {"settings": {"mem_per_node": True}}, "mem_per_node"),
        ("slurm", {"settings": {"cores_per_node": 2}, "tasks_per_node": 4}, "4 tasks"),
        ("slurm", {"settings": {"qos": ["a"]}}, "qos"),
        ("slurm", {"walltime": "01:00"}, "HH:MM:SS"),
        ("slurm", {"walltime": "00:00:00"}, "no time"),
        ("slurm", {"walltime": "01:00:00\n#SBATCH --uid=0"}, "HH:MM:SS"),
        ("slurm", {"nodes": 0}, "0 nodes"),
        ("slurm", {"worker_init": "a\0b"}, "NUL"),
        ("slurm", {"settings": {"scheduler_options": "a\0b"}}, "NUL"),
        ("slurm", {"stdout": "/a\udcff"}, "UTF-8"),
        ("pbspro", {"settings": {"queue": "a\rb"}}, "queue"),
        ("pbspro", {"settings": {"select_options": "ngpus=4\n#PBS -A x"}}, "select"),
        ("pbspro", {"settings": {"cpus_per_node": 0}}, "cpus_per_node"),
        ("pbspro", {"stdout": "host:out"}, "host:path"),
        ("pbspro", {"stdout": "/a\"b'c"}, "quotes"),
        ("gridengine", {"name": "a\nb"}, "job name"),
        ("gridengine", {"stdout": "/a:b"}, "':'"),
        ("gridengine", {"stdout": "/a$JOB_ID"}, "'$'"),
        ("gridengine", {"settings": {"queue": "a#b"}}, "'#'"),
        ("flux", {"settings": {"bank": "a\x0bb"}}, "bank"),
        ("flux", {"stdout": "/a{{id}}"}, "template"),
        ("flux", {"name": "a'''b"}, "quotes"),
        ("flux", {"settings": {"cores_per_node": 1.5}}, "cores_per_node"),
        ("ssh", {"settings": {"hosts": ["a\nrm -rf x"]}}, "hosts"),
        ("kubernetes", {}, "image"),
        ("kubernetes", {"settings": {"image": "i", "user_id": "ada"}}, "user_id"),
        ("kubernetes", {"settings": {"image": "i", "annotations": "x"}}, "annotations"),
        ("kubernetes", {"settings": {"image": "i", "persistent_volumes": [["claim"]]}}, "persistent_volumes"),
        ("kubernetes", {"settings": {"image": "i"}, "walltime": "1h"}, "HH:MM:SS"),
    ],
)
def test_refused(name, changes, says):
    with pytest.raises(SiteValueError, match=re.escape(says)):
        scheduler(name).render(block(**changes))


@pytest.mark.parametrize(
    ("options", "checked"),
    [
        ("", True),
        ("#$ -pe mpi 4", True),
        ("#$ -l mem_free=4G", False),
        ("#$ -pe mpi 4 -l gpu=1", False),
        ("#$ -w n", False),
    ],
)
def test_grid_engine_refuses_what_it_can_never_run_unless_load_values_may_be_asked_for(options, checked):
    text = scheduler("gridengine").render(block(settings={"scheduler_options": options}))
    assert ("#$ -w e\n" in text) is checked
