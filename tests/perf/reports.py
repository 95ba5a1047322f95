"""Reports for the tests: one with all figures, and one whose every name HTML would take for its own."""

import pytest

from perf.made_up import record
from pilotage.perf import folder
from pilotage.perf.report import writing

FIGURES = ["throughput", "workers", "latency", "startup", "history"]
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def made(records, target, home, **more):
    """Write a report of records; returns its folder."""
    for one in records:
        folder.write(one, target)
    with pytest.MonkeyPatch.context() as patch:  # the drawing keeps a list of fonts in the user's folder
        patch.setenv("HOME", str(home))
        writing.write([target / "results"], target / "report", **more)
    return target / "report"


def evil():
    """Records of which each name and text is one that HTML, Markdown or a spreadsheet would take for its own."""
    one = record("eeee-1", EVIL, executor="<b>", label="&lt;", scheduler="$x^2$")
    one.sessions[0].status = "failed"
    one.sessions[0].reason = EVIL
    one.versions["<i>parsl</i>"] = "</td></table>"
    return [one, record("ffff-1", "=1+1|*x*")]
