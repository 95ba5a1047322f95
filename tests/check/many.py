"""Checks many sites in one process, on the host it is started on: cases come as JSON on stdin, reports on stdout."""

import json
import os
import subprocess
import sys
from pathlib import Path

from pilotage.assembly.configs import targets
from pilotage.check.checking import Listener, check_site


def one(case):
    """Return the report on a case: its site's text, values to set, environment, and shell lines before and after.

    And what is to be waited for first.
    """
    before = dict(os.environ)
    if case.get("first"):
        subprocess.run(["bash", "-ec", case["first"]], check=True, stdout=sys.stderr)
    os.environ.update(case["environment"])
    (path := Path(os.environ["XDG_CONFIG_HOME"]) / "pilotage" / "pilotage.toml").parent.mkdir(
        parents=True, exist_ok=True
    )
    path.write_text(f"[site.mine]\n{case['toml']}\n")
    try:
        if case["before"]:
            subprocess.run(["bash", "-ec", case["before"]], check=True, stdout=sys.stderr)
        report = check_site(
            "mine",
            lambda: targets("mine", case["sets"])[0].resolved,
            Listener(),
            options=case["sets"],
            submit=case["submit"],
            wait=60.0,
        )
        return report.as_dict()
    finally:
        if case["after"]:
            subprocess.run(["bash", "-ec", case["after"]], check=True, stdout=sys.stderr)
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(one(json.loads(line))) + "\n")
        sys.stdout.flush()
