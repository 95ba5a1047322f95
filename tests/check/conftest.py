"""Checks of sites within the process of the tests, which is quick: Parsl is imported once."""

import sys
from pathlib import Path

import pytest

# Helpers of this folder only; pytest's importlib mode puts no folder of tests on the path.
sys.path.append(str(Path(__file__).parent))

from pilotage.check.checking import Listener, check_site


@pytest.fixture
def check(project, user_file):
    """Check a site of the given TOML, as ``--json`` has it."""

    def run(toml='extends = "laptop"', sets=(), **options):
        from pilotage.assembly.configs import targets

        path = user_file(f"[site.mine]\n{toml}\n")
        report = check_site(
            "mine", lambda: targets("mine", sets)[0].resolved, Listener(), options=sets, **options
        ).as_dict()
        return {**report, "file": path}

    return run
