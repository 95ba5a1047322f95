"""Directives: every scheduler reads back what was asked for, or the value is refused."""

import re
import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import SiteValueError
from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Block

WITH_DIRECTIVES = ("slurm", "pbspro", "gridengine", "flux")


def block(**changes):
    fields = {"name": "@job_name@", "command": "worker", "stdout": "/out", "stderr": "/err"}
    return Block(**{**fields, **changes})


# How the four read their directives; these are the rules of their own parsers.


def slurm_reads(line):
    """Split as sbatch does: both quotes group, a backslash escapes everywhere, a bare # ends the line."""
    words, word, quote, escaped = [], None, "", False
    for character in line:
        if escaped:
            escaped, word = False, (word or "") + character
        elif character == "\\":
            escaped = True
        elif quote:
            quote, word = ("", word) if character == quote else (quote, word + character)
        elif character in "\"'":
            quote, word = character, word or ""
        elif character == "#":
            break
        elif character.isspace():
            words, word = ([*words, word] if word is not None else words), None
        else:
            word = (word or "") + character
    return words if word is None else [*words, word]


def pbspro_reads(line):
    """Split as qsub of PBS does: both quotes group without any escape in them, a backslash outside them escapes."""
    tokens = re.findall(r"(?:\"[^\"]*\"|'[^']*'|\\.|[^\s\"'\\])+", line)
    return [re.sub(r"\"([^\"]*)\"|'([^']*)'|\\(.)", lambda m: m[1] or m[2] or m[3] or "", token) for token in tokens]


def gridengine_reads(line):
    """Split as qsub of Grid Engine does: a # ends the line, quotes group and vanish."""
    tokens = re.findall(r"(?:\"[^\"]*\"|'[^']*'|[^\s\"'])+", line.partition("#")[0])
    return [re.sub("[\"']", "", token) for token in tokens]


def flux_reads(line):
    """Split as flux does, with the settings of its lexer."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.escapedquotes = True, "\"'"
    assert not re.search("\"{3}|'{3}", line)
    return list(lexer)


READERS = {
    "slurm": ("#SBATCH", slurm_reads, lambda name, out, queue: [
        f"--job-name={name}", f"--output={out.replace('%', '%%')}", f"--partition={queue}",
    ]),
    "pbspro": ("#PBS", pbspro_reads, lambda name, out, queue: ["-N", name, "-o", out, "-q", queue]),
    "gridengine": ("#$", gridengine_reads, lambda name, out, queue: ["-N", name, "-o", out, "-q", queue]),
    "flux": ("#flux:", flux_reads, lambda name, out, queue: [
        f"--job-name={name}", f"--output={out}", f"--queue={queue}",
    ]),
}  # fmt: skip


def directives(name, text):
    prefix, reads, _ = READERS[name]
    return [word for line in text.split("\n") if line.startswith(prefix) for word in reads(line.removeprefix(prefix))]


awkward = st.text("ab \"'\\#$%{}:,;&|é", min_size=1, max_size=12).filter(lambda text: text.strip() == text)


@pytest.mark.parametrize("name", WITH_DIRECTIVES)
@settings(max_examples=300, deadline=None)
@given(job=awkward, out=awkward.map("/runs/{}".format), queue=awkward)
def test_the_scheduler_reads_back_what_was_asked_for_or_it_is_refused(name, job, out, queue):
    described = block(name=job, stdout=out, stderr="/err", settings={"queue": queue, "partition": queue})
    try:
        text = scheduler(name).render(described)
    except SiteValueError:
        return
    read = directives(name, text)
    wanted = READERS[name][2](job, out, queue)
    assert [word for word in read if word in wanted] == wanted, text


ORDINARY = "/home/ada/runs 2026/lab-1_a.b+c=d@e~(é)&[x]"


@pytest.mark.parametrize("name", WITH_DIRECTIVES)
def test_an_ordinary_path_with_a_space_is_not_refused(name):
    text = scheduler(name).render(block(name="lab.block-0", stdout=ORDINARY, settings={"partition": "q", "queue": "q"}))
    assert [word for word in directives(name, text) if ORDINARY in word]


@pytest.mark.parametrize("name", WITH_DIRECTIVES)
def test_the_users_own_directives_come_last_and_before_the_shell(name):
    prefix = READERS[name][0]
    text = scheduler(name).render(
        block(worker_init="first", settings={"scheduler_options": f"\n{prefix} --own=1\r\n{prefix} --two\r\n\n"})
    )
    assert f"{prefix} --own=1\n{prefix} --two\n\n# " in text
    assert text.index("--two") < text.index("\nfirst\n")
    assert text.rindex(prefix) == text.index(f"{prefix} --two")


def test_slurm_tells_the_job_its_share_after_worker_init():
    described = block(
        worker_init="unset PARSL_CORES PARSL_MEMORY_GB",
        command='echo "$PARSL_CORES $PARSL_MEMORY_GB"',
        tasks_per_node=3,
        settings={"cores_per_node": 16, "mem_per_node": 5},
    )
    text = scheduler("slurm").render(described)
    assert subprocess.run(["bash", "-s"], input=text, capture_output=True, text=True).stdout == "5 5\n"
    assert {"--cpus-per-task=5", "--mem=5G", "--ntasks-per-node=3"} <= set(directives("slurm", text))


@pytest.mark.parametrize("options", ["ngpus=4", ":ngpus=4"])
def test_the_colon_before_select_options_is_optional(options):
    text = scheduler("pbspro").render(block(nodes=2, settings={"select_options": options, "cpus_per_node": 8}))
    assert "select=2:ncpus=8:ngpus=4" in directives("pbspro", text)


@pytest.mark.parametrize("sentinel", ["#flux:", "# flux:", "#FLUX:", "## flux:"])
def test_flux_directives_all_begin_alike(sentinel):
    text = scheduler("flux").render(block(settings={"scheduler_options": f"{sentinel} --urgency=20"}))
    beginnings = re.findall(r"^[^\w\n]*(?:flux|FLUX):", text, re.MULTILINE)
    assert set(beginnings) == {"#flux:"}
    assert "--urgency=20" in directives("flux", text)
