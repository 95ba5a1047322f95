"""The table of faults on a real cluster: what is told of each, what comes of it, and what without a protection."""

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "batch.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
JOB = re.compile(r"pilotage-\d{8}-\d{6}-\w{4}\.[\w.-]+\.block-\d+\.[\d.]*\d")
HEAD = "| fault | told | outcome | without |"


@dataclass
class Row:
    """What the tests have seen of one fault."""

    told: list[str] = field(default_factory=list)
    outcome: str = ""
    without: list[str] = field(default_factory=list)
    tried: bool = False
    right: bool = True

    def hears(self, message):
        """Take down what was told; ``message`` is of `ClusterRun.told`."""
        words, seconds = message
        self.told.append(f"“{words.replace('|', '/')}” (after {max(seconds, 0):.0f} s)")

    def cells(self, before):
        """Return the cells beside the fault; ``before`` are those on the page, for what was not tried this time."""
        told, outcome, without = before
        if self.tried:
            told, outcome = "; ".join(self.told), self.outcome if self.right else "**not what should**"
        return told, outcome, "; ".join(self.without) or without


class Table:
    """The outcomes of the faults that one session of tests has tried."""

    def __init__(self):
        self.rows = {}

    @contextmanager
    def trial(self, fault):
        """Take down what the block tries: it is right unless the block raises."""
        row = self.rows.setdefault(fault, Row())
        row.tried = True
        try:
            yield row
        except BaseException:
            row.right = False
            raise

    def control(self, fault, protection, happened):
        """Take down what happens without a protection."""
        self.rows.setdefault(fault, Row()).without.append(f"*{protection}*: {happened}")

    def lines(self, page=""):
        """Yield the table's lines; what ``page`` says of faults that were not tried stays."""
        rows = {}
        for line in page.splitlines():
            if line.startswith("| ") and not line.startswith(HEAD):
                fault, *cells = (cell.strip() for cell in line.strip("|").split("|"))
                rows[fault] = tuple(cells)
        for fault, row in self.rows.items():
            rows[fault] = row.cells(rows.get(fault, ("", "", "")))
        yield HEAD
        yield "|---|---|---|---|"
        for fault, cells in rows.items():
            line = JOB.sub("JOB", f"| {' | '.join((fault, *cells))} |")
            yield re.sub(r"\b(job|process) \d+\b", r"\1 N", line)

    def write(self):
        """Write the table into the page of the docs."""
        before, _, rest = PAGE.read_text().partition(BEGIN)
        page, _, after = rest.partition(END)
        PAGE.write_text("\n".join([before + BEGIN, "", *self.lines(page), "", END]) + after)
