"""Runs the program with one of its protections switched off: ``python without.py PROTECTION ARGUMENT...``."""

import sys

SUPERVISORS = {
    "subreaper": "from pilotage.worker import processes; processes.become_subreaper = lambda: False",
    "adoption": "from pilotage.runs.supervisor import Supervisor; Supervisor._adopt = lambda self: None",
}
STARTS = "from pilotage.runs.supervisor import main"


def main():
    sys.path.pop(0)  # this folder
    protection = sys.argv.pop(1)
    if protection == "sweep":
        from pilotage.cli import common

        common._sweep = lambda output: None
    else:
        from pilotage.runs import start

        original = start.command

        def command(folder):
            *before, code, path = original(folder)
            assert STARTS in code
            return [*before, code.replace(STARTS, f"{SUPERVISORS[protection]}; {STARTS}"), path]

        start.command = command
    from pilotage.cli import main as program

    program()


if __name__ == "__main__":
    main()
