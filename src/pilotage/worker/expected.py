"""Whether a Python is one that the driver's tasks can run in; if so, it becomes what it was started for.

``PYTHON .../expected.py python=3.11 parsl=2026.11.9 require=numpy>=2 -- -P -m pilotage.worker.pool ...``

A node runs this before anything else, in whatever Python is there, which may be the wrong one and have nothing of
ours: it is one file, sent with the run, for Python 2.7 and newer, and needs the standard library only.
"""

import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", getattr(sys.flags, "isolated", False)):
    del sys.path[0]  # the folder of this file, or the current one: the workers will not have it either

import os

EXIT = 78
"""Exit code of a Python that starts no workers; EX_CONFIG of sysexits.h."""
SAYS, FIX = "pilotage: no workers on ", "; to mend it: "
PACKAGES = ("parsl", "pilotage", "dill", "cloudpickle")
"""Packages that speak to each other, or write what the other side reads."""
INFO = (".dist-info", ".egg-info")
OPERATORS = (">=", "<", "==")
PHASES = {"dev": 0, "a": 1, "alpha": 1, "b": 2, "beta": 2, "c": 3, "rc": 3, "pre": 3, "post": 5, "rev": 5, "r": 5}
FINAL = 4


def main(words):
    # type: (list[str]) -> None
    """Become what is behind ``--``, or say why not; ``--tell`` says what is here instead."""
    if words[:1] == ["--tell"]:
        import json

        sys.stdout.write(json.dumps(found(words[1:])) + "\n")
        return
    end = words.index("--")
    expected, required = parsed(words[:end])
    names = [name for name, _ in expected + required]
    problem = judged(sys.executable, sys.executable, found(names), expected, required)
    if problem is None:
        flags = getattr(sys, "orig_argv", [])[1 : -len(sys.argv)]  # of a Python that is a script around another
        os.execv(sys.executable, [sys.executable] + flags + words[end + 1 :])
    sys.stderr.write(SAYS + os.uname()[1] + ": " + FIX.join(problem) + "\n")  # at once: other nodes write there too
    sys.stderr.flush()
    sys.exit(EXIT)


def parsed(words):
    # type: (list[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]
    """Return names with the versions that they must have, and names with limits: of ``python``, the minor version."""
    pairs = [word.partition("=")[::2] for word in words]
    versions = [pair for pair in pairs if pair[0] != "require"]
    return versions, [requirement(text) for key, text in pairs if key == "require"]


def requirement(text):
    # type: (str) -> tuple[str, str]
    """Return name and limits of ``numpy``, ``numpy>=2`` or ``numpy >=2, <3``; raises ValueError for anything else."""
    import re

    one = r"(?:>=|<|==)\s*[0-9][A-Za-z0-9.!+_-]*"
    match = re.match(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(%s(?:\s*,\s*%s)*)?\s*$" % (one, one), text)
    if match is None:
        raise ValueError("%r is no package with limits of its version by >=, < and ==" % text)
    return match.group(1), "".join((match.group(2) or "").split())


def found(names):
    # type: (list[str]) -> dict[str, str]
    """Return the version of this Python as ``python``, and those of packages that are installed.

    One that can be imported, and of which nothing says which version it is, has the empty version.
    """
    wanted = set(map(_plain, names))
    has = {}  # type: dict[str, str]
    bare = set()
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            stem, suffix = os.path.splitext(entry)
            name = _plain(stem.partition("-")[0])
            if name not in wanted or name in has:
                continue
            if suffix in INFO:
                version = _version(os.path.join(folder, entry))
                if version:
                    has[name] = version
            elif suffix in ("", ".py") and "-" not in stem:
                bare.add(name)
    known = dict((name, has.get(_plain(name), "")) for name in names if _plain(name) in bare.union(has))
    return dict(known, python="%d.%d.%d" % sys.version_info[:3])


def driver():
    # type: () -> dict[str, str]
    """Return what this Python has that the workers' must have too, if this is the driver's."""
    has = dict((name, version) for name, version in found(list(PACKAGES)).items() if version)
    return dict(has, python="%d.%d" % sys.version_info[:2])


def _version(info):
    # type: (str) -> str
    for path in (os.path.join(info, "METADATA"), os.path.join(info, "PKG-INFO"), info):
        try:
            with open(path, "rb") as file:
                for line in file:
                    if line.lower().startswith(b"version:"):
                        return str(line[8:].strip().decode("ascii", "replace"))
                    if not line.strip():  # the description follows
                        break
        except (IOError, OSError):
            continue
    return ""


def judged(what, python, has, expected, required):
    # type: (str, str, dict[str, str], list[tuple[str, str]], list[tuple[str, str]]) -> tuple[str, str] | None
    """Return what is wrong with a Python, and what mends it; None where nothing is.

    Parameters
    ----------
    what: the Python, for people.
    python: its path, for a command.
    has: its version and those of its packages, as `found` tells them.
    expected: what the driver has, by name; of ``python``, the minor version.
    required: packages that the site wants beside, with limits.
    """
    told, install = [], []
    minor = dict(expected).get("python", "")
    if minor and has["python"].split(".")[:2] != minor.split("."):
        told.append("is Python %s (driver: %s)" % (has["python"], minor))
    differ = []
    for name, version in expected:
        if name != "python" and has.get(name) not in (version, ""):
            differ.append("%s (driver: %s)" % (_there(name, has), version))
            install.append("%s==%s" % (name, version))
    for name, limits in required:
        if name not in has or not within(has[name], limits):
            differ.append("%s (needed%s)" % (_there(name, has), limits and ": " + limits))
            install.append(_quoted(name + limits))
    if differ:
        told.append("has " + ", ".join(differ))
    if not told:
        return None
    if told[0].startswith("is "):
        fix = "set python = PATH of a Python %s there, or leave python out and --set environment.kind=venv" % minor
        fix += ", which makes an environment like the driver's there"
    else:
        fix = "%s -m pip install %s" % (_quoted(python), " ".join(install))
    return "%s %s" % (what, " and ".join(told)), fix


def _there(name, has):
    # type: (str, dict[str, str]) -> str
    return "%s %s" % (name, has[name]) if name in has else "no " + name


def within(version, limits):
    # type: (str, str) -> bool
    """Return whether a version is within limits such as ``>=2,<3``; one without a number is not judged."""
    own = _key(version)
    if not own[0]:
        return True
    for limit in filter(None, limits.split(",")):
        sign = next(one for one in OPERATORS if limit.startswith(one))
        other = _key(limit[len(sign) :])
        if not {">=": own >= other, "<": own < other, "==": own == other}[sign]:
            return False
    return True


def _key(version):
    # type: (str) -> tuple[list[int], int, int]
    """Return what sorts versions: the release, how near to it, and which of these; what is local does not count."""
    import re

    match = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)[._-]?([a-z]*)[._-]?(\d*)", version.strip().lower().lstrip("v"))
    if match is None:
        return [], 0, 0
    release = [int(part) for part in match.group(1).split(".")]
    while release and not release[-1]:
        del release[-1]
    return release or [0], PHASES.get(match.group(2), FINAL), int(match.group(3) or 0) if match.group(2) else 0


def _plain(name):
    # type: (str) -> str
    """Return how a package's name is compared: installers write it in more than one way."""
    return "-".join(filter(None, name.lower().replace("_", "-").replace(".", "-").split("-")))


def _quoted(word):
    # type: (str) -> str
    """Return a word as a shell needs it."""
    plain = all(one.isalnum() or one in "@%+=:,./-_" for one in word)
    return word if plain else "'" + word.replace("'", "'\"'\"'") + "'"


if __name__ == "__main__":
    main(sys.argv[1:])
