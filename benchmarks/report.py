"""Writes the report of a measurement: ``python benchmarks/report.py [RESULTS]``.

The tables go between the markers of ``docs/performance.md`` (its prose stays; a folder without that page gets a new
one), all numbers with the raw samples into
``docs/performance.json``, and the figure into ``docs/images/performance.svg``.
"""

import argparse
import json
import math
from pathlib import Path

from peers import PEERS, ROOT
from summary import OURS, summarize

BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"
NEW_PAGE = f"# Performance, measured\n\n{BEGIN}\n{END}\n"


def number(value, digits=3):
    """Return a number to ``digits`` significant digits, with thousands apart."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    return f"{rounded:,.{max(places, 0)}f}"


def interval(estimate):
    """Return ``value (low to high)``, or the value alone where one sample gives no interval."""
    if estimate["count"] == 1:
        return number(estimate["value"])
    return f"{number(estimate['value'])} ({number(estimate['low'])} to {number(estimate['high'])})"


def table(heads, body):
    """Return a Markdown table; columns whose head begins with ``>`` are set to the right."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in body]
    lines = ["| " + " | ".join(head.lstrip(">") for head in heads) + " |"]
    lines.append("|" + "|".join("---:" if head.startswith(">") else "---" for head in heads) + "|")
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells])


def bound(goal, value):
    sign = "at least" if goal["reach"] >= goal["least"] else "at most"
    return f"{sign} {value:g} {goal['unit']}"


def goals_table(goals):
    body = []
    for goal in goals:
        measured = f"{interval(goal['estimate'])} {goal['unit']}" if goal["estimate"] else "not measured"
        wanted = (bound(goal, goal["least"]), bound(goal, goal["reach"]))
        body.append((goal["title"], *wanted, measured, goal["verdict"] or ""))
    return table(["measure", ">goal", ">reach for", ">measured (95 % interval)", "verdict"], body)


def rows_table(rows, peers):
    body, last = [], None
    for row in rows:
        title = f"{row['title']}, {row['unit']}" if row["title"] != last else ""
        last = row["title"]
        ratio = f"{interval(row['ratio'])} x" if row["ratio"] else ""
        estimate = row["estimate"]
        body.append((title, peers[row["peer"]]["title"], interval(estimate), estimate["count"], ratio))
    heads = ["measure, unit", "with", ">median (95 % interval)", ">repeats", ">pilotage to it, paired (95 % interval)"]
    return table(heads, body)


def machine_text(record):
    machine = record["machine"]
    versions = ", ".join(
        f"{peer['title'] if name != OURS else OURS} {peer['version']}"
        for name, peer in record["peers"].items()
        if peer["version"] and name not in ("parsl-htex-nolog", "parsl-threads")
    )
    network = "each program in a network namespace with nothing but a loopback" if record["own_network"] else ""
    parts = [
        f"{record['date']}: {machine['processor']}, {machine['cores']} cores, {machine['memory_GB']:g} GB, "
        f"{machine['system']}, Python {machine['python']}",
        f"revision {record['revision']}" if record["revision"] else "",
        f"load before {machine['load_before']:g}",
        f"parsl-perf --time {record['settings']['perf'][0]:g}",
        network,
        versions.replace("Parsl HTEX", "Parsl"),
    ]
    text = "; ".join(part for part in parts if part) + "."
    return text + (" A quick trial: too short and too few repeats for a claim." if record["quick"] else "")


def failures_text(failures, peers):
    if not failures:
        return "No program failed."
    lines = [
        f"- {each['measure']}, {peers[each['peer']]['title']}, {each['repeats']} x: {each['reason']}"
        for each in failures
    ]
    return "Programs that gave no number:\n\n" + "\n".join(lines)


def markdown(summary):
    """Return what stands between the markers."""
    peers = summary["peers"]
    notes = [f"- {peer.title}: {peer.note}" for peer in PEERS.values() if peer.note]
    parts = [
        machine_text(summary),
        goals_table(summary["goals"]),
        "![Rates, latencies, argument sizes and managers, side by side](images/performance.svg)",
        rows_table(summary["rows"], peers),
        failures_text(summary["failures"], peers),
        "\n".join(notes),
    ]
    return "\n\n".join(parts)


def between_markers(page, text):
    """Return the page with ``text`` between its markers; raises ValueError where they are not there once each."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs the lines {BEGIN} and {END} once each, in this order")
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}"


def as_json(summary):
    """Return JSON with one line a goal, row, failure and sample, so that a difference can be read."""
    lines = []
    for key, value in summary.items():
        if isinstance(value, list) and value:
            inner = ",\n".join(f"  {json.dumps(each)}" for each in value)
            lines.append(f" {json.dumps(key)}: [\n{inner}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=ROOT / "results" / "benchmarks.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="the folder that is written to")
    options = parser.parse_args()
    page = options.docs / "performance.md"
    try:
        summary = summarize(json.loads(options.results.read_text()))
        (options.docs / "images").mkdir(parents=True, exist_ok=True)
        text = between_markers(page.read_text() if page.exists() else NEW_PAGE, markdown(summary))
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    except json.JSONDecodeError as error:
        parser.error(f"{options.results}: this is no JSON: {error}")
    except ValueError as error:
        parser.error(f"{page}: {error}")
    page.write_text(text)
    (options.docs / "performance.json").write_text(as_json(summary))
    from figure import draw

    draw(summary, options.docs / "images" / "performance.svg")


if __name__ == "__main__":
    main()
