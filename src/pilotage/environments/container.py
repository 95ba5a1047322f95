"""Workers in a container: an image that the host has, one of this machine, or one that is built there.

What comes out is a folder with ``bin/python``, which starts Python in the container (see `starting`), and the image
where it is none that the host had before.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pilotage.environments.definitions import files, packed
from pilotage.environments.recipe import Facts, Recipe, file_digest
from pilotage.environments.starting import PROGRAMS, start
from pilotage.errors import BuildError, UnsupportedError
from pilotage.sites.environments import Container

TOGETHER = ("parsl", "pilotage", "dill", "cloudpickle")
"""Packages that have to be of one version on both sides."""
HERE = ("file:", "./", "../")
"""How an image begins that is a file of this machine."""
SAY = 'say() { printf "%s\\n" "$1" >&2; exit 1; }\n'
TAG = "name=localhost/pilotage:${1##*/}\n"
WHO = """\
export USER="${USER:-$(id -un)}"
for name in AUTHOR COMMITTER; do export "GIT_${name}_NAME=pilotage" "GIT_${name}_EMAIL=pilotage@localhost"; done
"""
"""What ch-image wants to know for its cache, which is git's."""
SAVE = 'podman save --quiet --output "$1/image.tar" "$name"\n'


def recipe(wanted: Container, facts: Facts, say: Callable[[str], object]) -> Recipe:
    """Return how the environment is made; raises BuildError where a file is not there, or the runtime."""
    program = facts.programs.get(PROGRAMS[wanted.runtime])
    if program is None:
        raise BuildError(
            f"there is no {PROGRAMS[wanted.runtime]} there",
            hint="a host where it comes with a module has it for the shell of the login host: ~/.bashrc, ~/.profile",
        )
    needed: dict[str, Path] = {}
    content: dict[str, Any] = {"platform": facts.platform}
    if wanted.definition is not None:
        image, build = _built(wanted, Path(wanted.definition), facts, needed, content)
        title = f"an image by {Path(wanted.definition).name}"
    else:
        image, build = _given(wanted, str(wanted.image), facts, needed, content, say)
        title = f"the image {wanted.image}"
    binds = [f"{facts.home}{bind[1:]}" if bind == "~" or bind.startswith("~/") else bind for bind in wanted.binds]
    script = start(wanted.runtime, program, image, wanted.python, binds=binds, gpus=wanted.gpus, options=wanted.options)
    # Quoted, the mark that ends it lets nothing in it mean anything to this shell.
    build = f'set -e\n{SAY}{build}mkdir "$1/bin"\ncat > "$1/bin/python" <<\'END OF SCRIPT\'\n{script}END OF SCRIPT\n'
    build += 'chmod 755 "$1/bin/python"\n'
    return Recipe(
        kind="container",
        title=f"{title} in {wanted.runtime}",
        content=content,
        files=needed,
        build=build,
        expected={
            "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
            **{name: version(name) for name in TOGETHER},
        },
        limit=2 * 3600,
    )


def words(wanted: Container, prefix: str, folders: Sequence[str]) -> list[str]:  # noqa: ARG001  every kind's
    """Return the words that start Python in the container, in which ``folders`` are to be seen."""
    return [f"{prefix}/bin/python", *(f"--see={folder}" for folder in folders if folder)]


def _given(
    wanted: Container,
    image: str,
    facts: Facts,
    needed: dict[str, Path],
    content: dict[str, Any],
    say: Callable[[str], object],
) -> tuple[str, str]:
    """Return the path of an image that is given, and what has to be done for it."""
    if image.startswith(HERE):
        return _sent(wanted, Path(image.removeprefix("file:")).absolute(), needed, content, say)
    if image == "~" or image.startswith(("/", "~/")):
        path = f"{facts.home}{image[1:]}" if image.startswith("~") else image
        return path, f"[ -e {shlex.quote(path)} ] || say {shlex.quote(f'there is no image {path}')}\n"
    return _fetched(wanted, image)


def _fetched(wanted: Container, image: str) -> tuple[str, str]:
    """Return the path of an image of a registry, which is fetched there as the runtime there is configured."""
    if wanted.runtime in ("podman", "charliecloud"):
        image = image.removeprefix("docker://")
    quoted = shlex.quote(image)
    if wanted.runtime == "podman":
        fetch = f"podman image exists {quoted} || podman pull --quiet {quoted}\n"
        return "{prefix}/image.tar", f'{TAG}{fetch}podman tag {quoted} "$name"\n{SAVE}'
    if wanted.runtime == "charliecloud":
        local = f"pilotage-{image.translate(str.maketrans('/:@', '---'))}"
        local = shlex.quote(local)
        unpack = f'ch-convert -i ch-image -o dir {local} "$1/image"\n'
        return "{prefix}/image", f"ch-image pull {quoted} {local}\n{unpack}"
    if "://" not in image:
        raise BuildError(
            f"{image!r} is neither a path there nor a reference",
            where="environment.image",
            hint="an image of that host is /path or ~/path, one of this machine ./path, one of a registry docker://name",
        )
    return "{prefix}/image.sif", f'{wanted.runtime} pull "$1/image.sif" {quoted}\n'


def _sent(
    wanted: Container, path: Path, needed: dict[str, Path], content: dict[str, Any], say: Callable[[str], object]
) -> tuple[str, str]:
    """Take an image of this machine along."""
    if not path.is_file():
        hint = "a folder goes along as an archive: tar -C FOLDER -cf image.tar ." if path.is_dir() else None
        raise BuildError(f"there is no file {path}", where="environment.image", hint=hint)
    say(f"reading {path}")
    needed["image"], content["image"] = path, file_digest(path)
    if wanted.runtime == "charliecloud" and ".tar" in path.suffixes:
        return "{prefix}/image", 'mkdir "$1/image"\ntar -C "$1/image" -xpf "$2/image"\n'
    name = {"podman": "image.tar", "charliecloud": "image.sqfs"}.get(wanted.runtime, "image.sif")
    return f"{{prefix}}/{name}", f'ln "$2/image" "$1/{name}" 2>/dev/null || cp "$2/image" "$1/{name}"\n'


def _built(
    wanted: Container, definition: Path, facts: Facts, needed: dict[str, Path], content: dict[str, Any]
) -> tuple[str, str]:
    """Return the path of an image that is built there, and how."""
    apptainer = wanted.runtime in ("apptainer", "singularity")
    if not definition.is_file():
        raise BuildError(f"there is no file {definition}", where="environment.definition")
    if wanted.runtime == "charliecloud" and "ch-image" not in facts.programs:
        raise UnsupportedError("there is no ch-image there, which builds images", where="environment.definition")
    needed["definition"], content["definition"] = definition, file_digest(definition)
    build = 'mkdir "$1/context"\ncd "$1/context"\ncp "$2/definition" ./definition\n'
    if more := files(definition, apptainer=apptainer):
        needed["context"], content["context"] = packed(more)
        build += 'tar -xf "$2/context"\n'
    if apptainer:
        image = "{prefix}/image.sif"
        build += f'{wanted.runtime} build "$1/image.sif" definition\n'
    elif wanted.runtime == "podman":
        image = "{prefix}/image.tar"
        build += f'{TAG}podman build --network host --tag "$name" --file definition .\n{SAVE}'
    else:
        image = "{prefix}/image"
        build += f'{WHO}name=pilotage-${{1##*/}}\nch-image build -t "$name" -f definition .\n'
        build += 'ch-convert -i ch-image -o dir "$name" "$1/image"\nch-image delete "$name"\n'
    return image, f'{build}cd "$1"\nrm -rf "$1/context"\n'
