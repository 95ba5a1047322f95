"""Kubernetes: a block is a Job of as many pods as the block has nodes."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from pilotage.errors import SiteValueError
from pilotage.schedulers.base import Block, WithoutQueues, seconds
from pilotage.schedulers.rendering import given, render

# The API server makes a pod's host name of the Job's name, a dash and an index of up to five digits: 63 in all.
LONGEST_NAME = 57
# What bash runs itself: there is no program to put in its place.
_WORDS = """
    ! . : [ [[ ]] { } alias bg bind break builtin caller case cd command compgen complete compopt continue coproc
    declare dirs disown do done echo elif else enable esac eval exec exit export false fc fg fi for function
    getopts hash help history if in jobs kill let local logout mapfile popd printf pushd pwd read readarray
    readonly return select set shift shopt source suspend test then time times trap true type typeset ulimit umask
    unalias unset until wait while
"""
SHELL_WORDS = frozenset(_WORDS.split())


class Kubernetes(WithoutQueues):
    """Kubernetes by its manifests."""

    name = "kubernetes"
    commands: tuple[str, ...] = ("kubectl",)

    def render(self, block: Block) -> str:
        """Return the Job's manifest (YAML).

        Its pods are never restarted, hear SIGTERM (the worker is ``exec``ed), and end with the wall time; an ended
        Job is removed after ten minutes. Raises SiteValueError without an image.
        """
        settings = block.settings
        image = given(settings, "image")
        if image is None:
            raise SiteValueError("a block on Kubernetes needs an image", hint="name one that has Python and Parsl")
        job = block.name if re.fullmatch(r"@\w+@", block.name) else kubernetes_name(block.name)
        return render(
            "kubernetes.yaml.j2",
            block,
            yaml=yaml,
            job=job,
            labels={
                "app.kubernetes.io/name": "pilotage",
                "app.kubernetes.io/component": "worker",
                "pilotage/block": job,
            },
            deadline=seconds(block.walltime) if block.walltime else None,
            command=with_exec(block.command),
            image=str(image),
            **{key: given(settings, key) for key in ("namespace", "service_account_name", "secret")},
            annotations=_texts(settings, "annotations"),
            requests=_resources(settings, "init", "extra_requests"),
            limits=_resources(settings, "max", "extra_limits"),
            security=_security(settings),
            volumes=_volumes(settings),
        )


def kubernetes_name(name: str) -> str:
    """Return ``name`` as a DNS-1123 label that a Job can have: lower case, digits and dashes, at most 57 characters.

    A name that is cut, or of which nothing is left, ends with a hash of the whole, so that two blocks do not become
    one. A name that can be had already stays as it is.
    """
    label = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    if label and len(label) <= LONGEST_NAME:
        return label
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{label[: LONGEST_NAME - 9].strip('-') or 'block'}-{digest}"


def with_exec(command: str) -> str:
    """Return the command with ``exec`` before it where it is one program on one line, else as it is.

    The first process of a container hears only the signals that it handles: a worker handles SIGTERM, a shell that
    waits for it does not, and the pod's end would take the whole grace period.
    """
    line = command.strip()
    return f"exec {line}" if _is_one_program(line) else command


def yaml(value: object) -> str:
    """Return text, numbers, and lists and dicts of them as YAML on one line.

    It is JSON, but for two things that YAML readers refuse in it: a character beyond U+FFFF as two escapes, and
    control characters as they are.
    """
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found.group()):04x}", text)


def _is_one_program(line: str) -> bool:
    if not line or "\n" in line:
        return False
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        first, *rest = list(lexer)
    except ValueError:  # a quote that is never closed
        return False
    # Whatever is in doubt (an assignment, a quoted semicolon) goes without exec, which is slower to end but right.
    return "=" not in first and first not in SHELL_WORDS and not any(_joins(word) for word in (first, *rest))


def _joins(word: str) -> bool:
    """Return whether a word of a command line is an operator between commands; a redirection is none."""
    characters = set(word)
    redirects = bool(characters & set("<>")) and not characters & set("();")
    return bool(word) and characters <= set("();<>|&") and not redirects


def _texts(settings: Mapping[str, object], key: str) -> dict[str, str]:
    table = given(settings, key) or {}
    if not isinstance(table, Mapping):
        raise SiteValueError(f"{key} is {table!r}; expected a table")
    return {str(name): str(value) for name, value in table.items()}


def _resources(settings: Mapping[str, object], prefix: str, extra: str) -> dict[str, str]:
    own = {"cpu": given(settings, f"{prefix}_cpu"), "memory": given(settings, f"{prefix}_mem")}
    return {key: str(value) for key, value in own.items() if value is not None} | _texts(settings, extra)


def _security(settings: Mapping[str, object]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    for key, field in (("user_id", "runAsUser"), ("group_id", "runAsGroup")):
        number = given(settings, key)
        if number is None:
            continue
        if not re.fullmatch(r"\d{1,10}", str(number), re.ASCII):
            raise SiteValueError(f"{key} is {number!r}; expected a number", hint="an image knows no names of users")
        context[field] = int(str(number))
    if given(settings, "run_as_non_root"):
        context["runAsNonRoot"] = True
    return context


def _volumes(settings: Mapping[str, object]) -> list[dict[str, str]]:
    pairs = given(settings, "persistent_volumes") or ()
    volumes = []
    for index, pair in enumerate(pairs if isinstance(pairs, Iterable) else ()):
        claim, path = _pair(pair)
        # A claim may be mounted twice and may have dots in its name; a volume's name may have neither.
        volumes.append({"name": f"volume-{index}", "claim": claim, "path": path})
    return volumes


def _pair(pair: object) -> tuple[str, str]:
    if isinstance(pair, list | tuple) and len(pair) == 2:
        return str(pair[0]), str(pair[1])
    raise SiteValueError(f"{pair!r} in persistent_volumes is not a pair of claim and mount path")


KUBERNETES = Kubernetes()
