"""What the Python of workers is: one table for each way that it comes to be, told apart by the key ``kind``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pilotage.sites.base import Absolute, Line, Model

KINDS = ("same", "venv", "conda", "container", "modules", "command")


class _Common(Model):
    require: list[Line] = Field(default_factory=list)
    """Packages that must be there beside the driver's Parsl, such as ``numpy>=2``: without them no worker starts."""


class _Built(_Common):
    folder: Absolute | None = None
    """Folder where such environments are kept, on a file system that the nodes see; ``environments`` in ``run_folder``
    on a login host, in pilotage's state folder here.
    """


class Same(_Common):
    """A Python that is there, such as the driver's own on a file system that the nodes share."""

    kind: Literal["same"]
    python: Line | None = None
    """Its path; the driver's own when not given, ``python3`` where there is a login host."""


class Venv(_Built):
    """A virtual environment with the driver's exact packages, or those of a requirements file, made there by uv."""

    kind: Literal["venv"]
    requirements: Line | None = None
    """A ``requirements.txt``, ``pyproject.toml``, ``pylock.toml`` or ``uv.lock`` of this machine; just what the driver
    has when not given.
    """
    source: Literal["carried", "index"] = "carried"
    """``carried`` takes wheels along, so that nothing is fetched there; with ``index`` the other side fetches the same
    versions by its own configuration.
    """
    wheelhouse: Line | None = None
    """A folder of this machine with wheels to take; what is installed here when not given."""
    python: Line | None = None
    """The Python there that it is made from; one of the driver's minor version is looked for when not given."""


class Conda(_Built):
    """An environment of conda packages, from a YAML file."""

    kind: Literal["conda"]
    file: Line
    """The YAML file on this machine; its ``name`` and ``prefix`` mean nothing here."""
    source: Literal["carried", "channels"] = "carried"
    """``carried`` takes the packages along; with ``channels`` the other side fetches the same ones from there."""
    tool: Literal["auto", "conda", "mamba", "micromamba", "rattler"] = "auto"
    """What installs it there: the first of them that is there; ``rattler`` is taken along."""


class Container(_Built):
    """Workers in a container: an image that is there, or one that is built there from a definition."""

    kind: Literal["container"]
    runtime: Literal["apptainer", "singularity", "podman", "charliecloud"]
    image: Line | None = None
    """An image with Python, and the driver's Parsl and pilotage in it: its path there, a reference of a registry as
    ``docker://name``, or ``./`` and the path of a file of this machine.
    """
    definition: Line | None = None
    """A file of this machine that it is built from there: a definition of Apptainer's, else a Containerfile."""
    python: Line = "python3"
    """The Python in it."""
    binds: list[Line] = Field(default_factory=list)
    """More folders to see in it, ``PATH`` or ``PATH:INSIDE``; those of the run and the home folder always are."""
    gpus: bool = False
    """Whether the node's GPUs are to be used in it."""
    options: list[Line] = Field(default_factory=list)
    """More options of the runtime's."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Container:
        if (self.image is None) == (self.definition is None):
            raise ValueError("a container has either an image or a definition")
        return self


class Modules(_Common):
    """A Python that is there once modules are loaded."""

    kind: Literal["modules"]
    load: list[Line] = Field(min_length=1)
    """Modules to load, in this order."""
    purge: bool = False
    """Whether all others are unloaded before."""
    python: Line = "python3"
    """The Python that is there then."""


class Command(_Common):
    """A Python that is there once shell lines have been run."""

    kind: Literal["command"]
    activate: str = Field(min_length=1)
    """The lines, such as ``source /opt/env/bin/activate``."""
    python: Line = "python3"
    """The Python that is there then."""


Environment = Annotated[Same | Venv | Conda | Container | Modules | Command, Field(discriminator="kind")]
Built = Venv | Conda | Container
BUILT = (Venv, Conda, Container)
"""Those that have to be made there, or started in a way of their own."""
PYTHON = "pilotage-environment-python"
"""Stands in a launch command for the Python of one of those, which is yet to be made."""


def activation(environment: Environment | None) -> str:
    """Return the shell lines by which a Python is there that has to be activated; nothing for others."""
    if isinstance(environment, Modules):
        lines = (["module purge"] if environment.purge else []) + [f"module load {name}" for name in environment.load]
        return "\n".join(lines)
    return environment.activate if isinstance(environment, Command) else ""
