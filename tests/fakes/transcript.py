"""Transcripts of commands and their answers, and whether a fake answers alike.

The first line says what it is about. ``== NAME`` begins a file, ``==`` ends it. ``$ COMMAND`` is a command; below it
``? N`` is its exit code where that is not 0, ``! WORDS`` are lines of its stderr, the others of its stdout. ``...``
stands for any lines, and ``~ SWITCH VALUE`` does something to the scheduler. What differs from one time to the next
(dates, process ids, memory) is compared by its form.
"""

import json
import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 10.0
"""Seconds in which an answer becomes the one that was recorded."""
DAY, MONTH = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "[A-Z][a-z]{2}"
FORMS = (
    (rf"{DAY} {MONTH} [ \d]\d \d\d:\d\d:\d\d \d{{4}}", "<date>"),
    (rf"run at {DAY} {MONTH} \d\d at \d\d:\d\d", "run at <date>"),
    (r'"(timestamp|history_timestamp|last_state_change_time|last_used_time|session_id)":\t\d+', r'"\1":\t<n>'),
    (r'"(mem|vmem)":\t"\d+kb"', r'"\1":\t"<kb>"'),
    (r'("exec_host":\t"[a-z]+)/\d+"', r'\1/<n>"'),  # the first, unless a job before has not given it up yet
    (r'"rank(\d+)/core\d+"', r'"rank\1/core<n>"'),  # as above
    (r'("vmem":\t"<kb>",\s+"walltime":\t)"[\d:]+"', r'\1"<time>"'),
    (r'("PBS_O_PATH":\t)"[^"]*"', r'\1"<path>"'),
    (r'"substate":\t4[12]\b', '"substate":\t<runs>'),
    (r"killed: walltime \d+", "killed: walltime <n>"),
    (r'"(t_\w+|runtime|expiration)": \d+\.\d+', r'"\1": <s>'),
    (r'"(userid|id)": \d+', r'"\1": <n>'),
    (r"begin@\d\d:\d\d:\d\d", "begin@<time>"),
    (r"ssh://\w+/tmp/flux-\w+/[\w-]+/local-0", "<uri>"),
)


@dataclass
class Step:
    """A command with its answer, or something that is done to the scheduler."""

    words: str
    code: int = 0
    out: list = field(default_factory=list)
    err: list = field(default_factory=list)


def read(path):
    """Return title, files by name, and steps."""
    title, *lines = Path(path).read_text().splitlines()
    files, steps, name = {}, [], None
    for line in lines:
        if line.startswith("=="):
            name = line[2:].strip() or None
            if name:
                files[name] = ""
        elif name:
            files[name] += line + "\n"
        elif line.startswith(("$ ", "~ ")):
            steps.append(Step(line))
        elif line.startswith("? "):
            steps[-1].code = int(line[2:])
        elif line.startswith("! "):
            steps[-1].err.append(line[2:])
        elif steps:
            steps[-1].out.append(line)
    for step in steps:
        while step.out and not step.out[-1]:  # empty lines between steps
            step.out.pop()
    return title, files, steps


def formed(lines, names):
    """Return lines with what differs by its form; ``names`` are texts and what they are in transcripts."""
    text = "\n".join(lines)
    for name, recorded in names.items():
        text = text.replace(name, recorded)
    for pattern, form in FORMS:
        text = re.sub(pattern, form, text)
    return [line.rstrip() for line in text.splitlines()]


def alike(recorded, said):
    """Return whether lines are as recorded, in which ``...`` stands for any."""
    parts = [[]]
    for line in recorded:
        if line.strip() == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    if len(parts) == 1:
        return recorded == said
    first, *between, last = parts
    if said[: len(first)] != first or (last and said[len(said) - len(last) :] != last):
        return False
    at, end = len(first), len(said) - len(last)
    for part in between:
        found = next((i for i in range(at, end - len(part) + 1) if said[i : i + len(part)] == part), None)
        if found is None:
            return False
        at = found + len(part)
    return True


def replay(path, lab, folder, names):
    """Do what a transcript does; raise AssertionError where the answers are not alike.

    Parameters
    ----------
    lab: the scheduler.
    folder: where its files are, and where the commands run.
    names: texts of here, and what stands for them in transcripts; the ids of jobs are added.
    """
    _, files, steps = read(path)
    for name, text in files.items():
        (folder / name).write_text(text)
    for step in steps:
        if step.words.startswith("~ "):
            switch(lab, *step.words[2:].split())
            continue
        words = step.words[2:]
        for here, recorded in names.items():
            words = words.replace(recorded, here)
        wanted = (step.code, formed(step.out, {}), formed(step.err, {}))
        end = time.monotonic() + PATIENCE
        while True:
            answer = lab.run(shlex.split(words), folder=folder, given="")
            if answer.ok and words.startswith("flux batch"):
                names[answer.stdout.strip()[1:]] = step.out[0][1:]
            said = (answer.exit_code, *(formed(text.splitlines(), names) for text in (answer.stdout, answer.stderr)))
            fits = said[0] == wanted[0] and all(map(alike, wanted[1:], said[1:]))
            if fits or time.monotonic() > end or not asks(words):
                break
            time.sleep(0.1)
        assert fits, f"{Path(path).name}: {words}\nrecorded: {wanted}\nsaid:     {said}"


def asks(words):
    """Return whether a command only asks, so that it can be repeated until the answer has come about."""
    return words.startswith(("qstat", "pbsnodes", "cat", "flux jobs", "flux resource"))


def switch(lab, name, value):
    if name in ("fail", "repair"):
        getattr(lab, name)(value)
    else:
        lab.switch(**{name: json.loads({"on": "true", "off": "false"}.get(value, value))})
