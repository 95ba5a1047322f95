"""A census of the standard library: every source file parsed by a task of its own, added up by package.

Real work on real input that every machine with Python has. Writes a table, a figure and the list of files that do
not parse (the library's own tests have some), and checks all numbers against a sequential pass.
"""

import argparse
import ast
import csv
import platform
import sys
import sysconfig
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import astuple, dataclass
from itertools import zip_longest
from pathlib import Path

import parsl

# Fewer files than this is a stripped installation or the wrong folder. Debian's, without tests, has more than 600.
FEWEST_FILES = 400
# The most results that one merging task takes.
FAN_IN = 16
TOTAL = "total"
IGNORE_ALL = ("ignore", None, Warning, None, 0)  # what warnings.simplefilter("ignore") sets


@dataclass(frozen=True)
class Census:
    """What was counted in a file, a package or everything."""

    name: str
    files: int = 0
    lines: int = 0
    functions: int = 0  # def and async def, methods included
    classes: int = 0
    imports: int = 0  # statements
    nodes: int = 0  # of the abstract syntax tree
    depth: int = 0  # blocks within blocks, the deepest; 0 is a module without any
    errors: tuple[str, ...] = ()  # a line for each file that does not parse


def library() -> Path:
    """Return the standard library's folder, on a worker that of the worker's Python."""
    return Path(sysconfig.get_paths()["stdlib"])


def source_files() -> list[str]:
    """Return the library's source files as sorted paths relative to it, without what was installed later."""
    root = library()
    found = (path.relative_to(root) for path in root.rglob("*.py") if path.is_file())
    return sorted(path.as_posix() for path in found if not {"site-packages", "dist-packages"} & set(path.parts))


def package_of(name: str) -> str:
    """Return the top-level package or module that a file belongs to."""
    return name.split("/")[0].removesuffix(".py")


def measure(name: str, source: bytes) -> Census:
    """Count what is in one file; a file that does not parse is counted with its lines and its error."""
    lines = len(source.splitlines())
    # Odd but valid source warns, and under -W error a warning would be counted as an error.
    if warnings.filters[:1] != [IGNORE_ALL]:  # setting it again would lift it for a moment in other threads
        warnings.simplefilter("ignore")
    try:
        tree = ast.parse(source, filename=name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # not its encoding; NUL bytes; too deep
        return Census(name, files=1, lines=lines, errors=(f"{name}: {type(error).__name__}: {error}",))

    kinds: Counter[type[ast.AST]] = Counter()
    deepest = 0
    to_visit: list[tuple[ast.AST, int, int]] = [(tree, -1, -1)]
    while to_visit:
        node, depth, column = to_visit.pop()
        kinds[type(node)] += 1
        if isinstance(node, ast.stmt):
            # An elif is a statement within its if, but at the same column: not a level deeper.
            depth += node.col_offset > column
            column = node.col_offset
            deepest = max(deepest, depth)
        to_visit.extend((child, depth, column) for child in ast.iter_child_nodes(node))
    return Census(
        name,
        files=1,
        lines=lines,
        functions=kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        classes=kinds[ast.ClassDef],
        imports=kinds[ast.Import] + kinds[ast.ImportFrom],
        nodes=kinds.total(),
        depth=deepest,
    )


def add_up(name: str, parts: list[Census]) -> Census:
    """Return one census of all ``parts``."""
    return Census(
        name,
        files=sum(part.files for part in parts),
        lines=sum(part.lines for part in parts),
        functions=sum(part.functions for part in parts),
        classes=sum(part.classes for part in parts),
        imports=sum(part.imports for part in parts),
        nodes=sum(part.nodes for part in parts),
        depth=max((part.depth for part in parts), default=0),
        errors=tuple(error for part in parts for error in part.errors),
    )


@parsl.python_app
def census_file(name):
    return measure(name, (library() / name).read_bytes())


# Parsl waits for futures inside `inputs`, and would not look into a list under another name.
@parsl.python_app
def merge(name, inputs=()):
    return add_up(name, inputs)


@parsl.join_app
def reduce(name, parts):
    """Merge any number of futures by a tree of tasks, so that none has more than FAN_IN inputs to fetch."""
    if len(parts) <= FAN_IN:
        return merge(name, inputs=parts)
    groups = [parts[i : i + FAN_IN] for i in range(0, len(parts), FAN_IN)]
    return reduce(name, [merge(name, inputs=group) for group in groups])


def by_package(names: list[str], parts: list) -> dict[str, list]:
    """Sort ``parts``, one for each of ``names``, under their packages."""
    packages = defaultdict(list)
    for name, part in zip(names, parts, strict=True):
        packages[package_of(name)].append(part)
    return {package: packages[package] for package in sorted(packages)}


def parallel_census(names: list[str]) -> list[Census]:
    """Return the census of each file, then of each package, then of everything, made by tasks."""
    with parsl.load():
        files = [census_file(name) for name in names]
        packages = [reduce(package, parts) for package, parts in by_package(names, files).items()]
        total = reduce(TOTAL, packages)
        return [future.result() for future in (*files, *packages, total)]


def sequential_census(names: list[str]) -> list[Census]:
    """Return what `parallel_census` does, by plain loops in this process."""
    files = [measure(name, (library() / name).read_bytes()) for name in names]
    packages = [add_up(package, parts) for package, parts in by_package(names, files).items()]
    return [*files, *packages, add_up(TOTAL, files)]


def differences(found: list[Census], expected: list[Census]) -> list[str]:
    """Return a line for each census that is not as expected, is missing, or is one too many."""
    # As text: what another process sends back need not be an instance of our own class.
    pairs = zip_longest(map(str, found), map(str, expected))
    return [f"found {one}, expected {other}" for one, other in pairs if one != other]


def write_table(path: Path, rows: list[Census]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["package", "files", "lines", "functions", "classes", "imports", "nodes", "depth", "errors"])
        table.writerows([*astuple(row)[:-1], len(row.errors)] for row in rows)


def draw(path: Path, packages: list[Census], total: Census) -> None:
    """Draw the largest packages: their lines, and how much of them is functions and classes."""
    from matplotlib.figure import Figure  # without pyplot there is no window system to choose; a PNG is made by Agg

    largest = sorted(packages, key=lambda row: row.lines, reverse=True)[:20]
    names = [row.name for row in largest]
    figure = Figure(figsize=(10, 7), layout="constrained")
    size, defined = figure.subplots(1, 2, sharey=True)
    size.barh(names, [row.lines / 1000 for row in largest], color="0.35")
    size.set_xlabel("source lines (thousands)", fontsize=12)
    size.invert_yaxis()  # the largest on top
    functions = [row.functions for row in largest]
    defined.barh(names, functions, color="0.35", label="functions")
    defined.barh(
        names,
        [row.classes for row in largest],
        left=functions,
        color="0.85",
        edgecolor="0.2",
        hatch="////",
        label="classes",
    )
    defined.set_xlabel("definitions (number)", fontsize=12)
    defined.legend(fontsize=12, loc="lower right")
    for axes in (size, defined):
        axes.tick_params(labelsize=11)
        axes.grid(axis="x", color="0.8")
        axes.set_axisbelow(True)
        axes.margins(y=0.02)
    figure.suptitle(
        f"Standard library of Python {platform.python_version()}: "
        f"the {len(largest)} largest of {len(packages)} packages, {total.files:,} files",
        fontsize=13,
    )
    figure.savefig(path, dpi=150)


def write_results(out: Path, packages: list[Census], total: Census) -> list[Path]:
    """Write all results into ``out``; returns the files written."""
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "census.csv", out / "errors.txt"]
    write_table(written[0], [*packages, total])
    written[1].write_text("".join(f"{error}\n" for error in total.errors), encoding="utf-8")
    try:
        draw(out / "census.png", packages, total)
    except ImportError as error:
        print(f"no figure: {str(error).splitlines()[0]} (pip install matplotlib)")
    else:
        written.append(out / "census.png")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/census"), help="folder for table and figure")
    parser.add_argument("--limit", type=int, metavar="N", help="take only the first N files")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare with a sequential pass (default: yes)",
    )
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")

    names = source_files()
    if len(names) < FEWEST_FILES:
        sys.exit(f"error: {library()} has {len(names)} source files; a standard library has {FEWEST_FILES} or more")
    names = names[: args.limit]

    print(f"parsing {len(names)} files of {library()} ...", flush=True)
    start = time.perf_counter()
    found = parallel_census(names)
    print(f"by Parsl, workers' start included: {time.perf_counter() - start:.1f} s", flush=True)
    total, packages = found[-1], found[len(names) : -1]
    if total.files != len(names):
        sys.exit(f"error: {len(names)} files were sent out and {total.files} came back")
    if args.check:
        start = time.perf_counter()
        wrong = differences(found, sequential_census(names))
        print(f"one after another, as a check: {time.perf_counter() - start:.1f} s")
        if wrong:
            sys.exit("\n".join(["error: the two differ (do the workers have another Python?)", *wrong[:20]]))

    written = write_results(args.out, packages, total)
    print(
        f"{total.files:,} files in {len(packages)} packages: {total.lines:,} lines, {total.functions:,} functions, "
        f"{total.classes:,} classes, {total.imports:,} imports; {len(total.errors)} files do not parse"
    )
    print("written: " + " ".join(str(path) for path in written))


if __name__ == "__main__":
    main()
