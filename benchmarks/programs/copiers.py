"""How each peer copies a file or folder to a place where nothing is: the only part of the transfers that differs."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def program(environment, name):
    """Return a program of a peer's environment."""
    return str(ROOT / ".venv-bench" / environment / "bin" / name)


class Engine:
    """Ours as a task's worker has it: in a process that has been started."""

    def __init__(self, far):
        from pilotage.staging.copying import planned

        self._planned = planned
        self._options = far.options

    def __call__(self, source, target):
        with self._planned([source], target, self._options) as job:
            job.run()


class Command:
    """A command of each copy: its start is part of the time."""

    def __init__(self, far):
        self._far = far

    def __call__(self, source, target):
        argv = self.argv(source, target, source.endswith(self._far.folder))
        subprocess.run(list(map(str, argv)), check=True, stdout=subprocess.DEVNULL)

    def argv(self, source, target, folder):
        raise NotImplementedError


class PilotageCp(Command):
    def argv(self, source, target, folder):  # noqa: ARG002  it sees that itself
        tables = self._far.options.items()
        options = [f"--option={scheme}.{key}={value}" for scheme, table in tables for key, value in table.items()]
        return [ROOT / ".venv/bin/pilotage", "cp", "-q", *options, source, target]


class Cp(Command):
    def argv(self, source, target, folder):  # noqa: ARG002  -r does for both
        return ["cp", "-r", source, target]


class AwsCli(Command):
    def argv(self, source, target, folder):
        recursive = ["--recursive"] if folder else []
        return [program("awscli", "aws"), "s3", "cp", "--only-show-errors", *recursive, source, target]


class Rclone(Command):
    def argv(self, source, target, folder):
        places = (one.replace("s3://", "far:") for one in (source, target))
        return [program("rclone", "rclone"), "copy" if folder else "copyto", "--quiet", *places]


class Rsync(Command):
    def argv(self, source, target, folder):
        places = [one.replace(self._far.url, f"{self._far.host}:{self._far.root}") for one in (source, target)]
        slash = "/" if folder else ""
        return [self._far.rsync, "-a", f"--rsync-path={self._far.rsync}", f"{places[0]}{slash}", places[1]]


COPIERS = {
    "pilotage": Engine,
    "pilotage-cp": PilotageCp,
    "cp": Cp,
    "awscli": AwsCli,
    "rclone": Rclone,
    "rsync": Rsync,
}
