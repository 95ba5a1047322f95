"""Every example, run as a user runs it: by plain Python and by ``pilotage run``."""

import ast
import csv
import dataclasses
import functools
import importlib.util
import os
import platform
import re
import shlex
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path

import pytest

RUNNERS = {
    "python": [sys.executable],
    **{f"pilotage-{site}": [sys.executable, "-m", "pilotage", "run", "--site", site] for site in ("threads", "laptop")},
}
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
COLUMNS = ["files", "lines", "functions", "classes", "imports", "nodes", "depth", "errors"]
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")


@pytest.fixture(scope="session")
def font_cache(tmp_path_factory):
    """A folder for matplotlib's list of fonts, which would else be made anew in every test's home."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture
def run_example(pilotage, examples, tmp_path, font_cache):
    """Run an example in an empty folder; its exit code must be ``code``."""

    def run(runner, script, *arguments, code=0, env=None, **options):
        script = script if isinstance(script, Path) else examples / script
        separator = ["--"] if runner != "python" else []
        done = pilotage.run(
            [*RUNNERS[runner], script, *separator, *arguments],
            cwd=tmp_path,
            env={"MPLCONFIGDIR": str(font_cache), **(env or {})},
            **options,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(params=["python", pytest.param("pilotage-threads", marks=pytest.mark.slow), "pilotage-laptop"])
def runner(request):
    return request.param


@pytest.fixture(scope="session")
def census(examples):
    """The census script as a module."""
    spec = importlib.util.spec_from_file_location("stdlib_census", examples / "stdlib_census.py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses looks its module up.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


def test_getting_started(runner, run_example, tmp_path):
    expected = (
        "Hello World from Python\n"
        "the command ended with exit code 0\n"
        "its stdout: Hello World from Bash\n"
        "its stderr: Goodbye World\n"
    )
    assert run_example(runner, "0_getting_started.py").stdout == expected
    folder = tmp_path / "results" / "tutorial"
    assert (folder / "0_hello.out").read_text() == "Hello World from Bash\n"
    assert (folder / "0_hello.err").read_text().endswith("\nGoodbye World\n")


def test_a_second_run_starts_its_files_anew(run_example, tmp_path):
    (tmp_path / "here").mkdir()
    for name in ("0_hello.out", "0_hello.err"):
        (tmp_path / "here" / name).write_text("of the first run\n")
    said = run_example("python", "0_getting_started.py", "--out", "here").stdout
    assert "its stdout: Hello World from Bash\nits stderr: Goodbye World\n" in said
    assert (tmp_path / "here" / "0_hello.out").read_text() == "Hello World from Bash\n"
    assert not (tmp_path / "results").exists()


def test_parallel(runner, run_example):
    sieve = bytearray([1]) * 200_000
    sieve[:2] = 0, 0
    for n in range(2, 448):
        sieve[2 * n :: n] = bytes(len(sieve[2 * n :: n]))
    assert run_example(runner, "1_parallel_workflow.py").stdout == (
        f"20 tasks found {sum(sieve)} primes below 200000\n"
    )


def test_sequential(runner, run_example, tmp_path):
    path = tmp_path / "results" / "tutorial" / "2_numbers.txt"
    assert run_example(runner, "2_sequential_workflow.py").stdout == (
        "the numbers from 1 to 100 add up to 5050\nthey are in results/tutorial/2_numbers.txt\n"
    )
    assert path.read_text().split() == [str(n) for n in range(1, 101)]


def test_dynamic(runner, run_example):
    assert run_example(runner, "3_dynamic_workflow.py").stdout == "fibonacci(10) = 55\n"


HELLO = re.compile(
    r"task (?P<task>\d+): host (?P<host>\S+); worker (?P<worker>.+); CPUs (?P<cpus>\S+); accelerators (?P<masks>.+)"
)


def test_affinity(runner, run_example, tmp_path):
    lines = run_example(runner, "4_hello_affinity.py").stdout.splitlines()
    said = [HELLO.fullmatch(line).groupdict() for line in lines]
    assert [each["task"] for each in said] == ["0", "1", "2", "3"]
    assert {each["host"] for each in said} == {platform.node()}
    for each, line in zip(said, lines, strict=True):
        folder = tmp_path / "results" / "tutorial"
        assert (folder / f"4_hello_{each['task']}.out").read_text() == line + "\n"
        assert (folder / f"4_hello_{each['task']}.err").is_file()
        if runner == "pilotage-laptop":
            assert re.fullmatch(r"rank \d+ block_id \w+ pool_id \w+", each["worker"])
        else:
            assert each["worker"] == "none"


@needs_affinity
def test_affinity_is_what_the_command_inherits(run_example):
    cpu = max(os.sched_getaffinity(0))
    done = run_example(
        "python",
        "4_hello_affinity.py",
        "--tasks",
        "1",
        env={"CUDA_VISIBLE_DEVICES": "2,3", "ROCR_VISIBLE_DEVICES": "", "ZE_AFFINITY_MASK": "1.0"},
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
    )
    said = HELLO.fullmatch(done.stdout.strip())
    assert said["cpus"] == str(cpu)
    assert said["masks"] == "CUDA_VISIBLE_DEVICES=2,3 ZE_AFFINITY_MASK=1.0"


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "my programs" / "hello"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho compiled\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize("runner", ["python", pytest.param("pilotage-laptop", marks=pytest.mark.slow)])
def test_affinity_by_another_program(runner, run_example, program):
    done = run_example(runner, "4_hello_affinity.py", "--tasks", "2", "--exe", "my programs/hello")
    assert done.stdout == "compiled\ncompiled\n"


def test_affinity_by_a_program_on_the_path(run_example, program):
    path = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    assert run_example("python", "4_hello_affinity.py", "--tasks", "1", "--exe", "hello", env=path).stdout == (
        "compiled\n"
    )


def test_affinity_by_a_program_that_fails(run_example):
    done = run_example("python", "4_hello_affinity.py", "--tasks", "1", "--exe", "./nothing-there", code=1)
    assert "hello_affinity failed with unix exit code 127" in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments"), [("4_hello_affinity.py", "--tasks 0"), ("stdlib_census.py", "--limit 0")]
)
def test_counts_are_checked(script, arguments, run_example, tmp_path):
    done = run_example("python", script, *shlex.split(arguments), code=2)
    assert "must be at least 1" in done.stderr
    assert list(tmp_path.iterdir()) == []


def read_table(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["package", *COLUMNS]
    return {row.pop("package"): {column: int(value) for column, value in row.items()} for row in rows}


def blocks(statement):
    """Return the lists of statements inside a statement."""
    found = [getattr(statement, field, []) for field in ("body", "orelse", "finalbody")]
    found += [inner.body for field in ("handlers", "cases") for inner in getattr(statement, field, [])]
    return [block for block in found if block]


def block_depth(body, level=0):
    deepest = level
    for statement in body:
        for block in blocks(statement):
            # An else with nothing but an if is an elif where that if is not indented.
            is_elif = isinstance(block[0], ast.If) and block[0].col_offset == statement.col_offset
            deepest = max(deepest, block_depth(block, level + (not is_elif)))
    return deepest


@functools.cache
def counted_here(limit):
    """Count the first files in another way than the example does: by kind, and depth by recursion over blocks."""
    names = library_files()[:limit]
    table = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for name in names:
        source = (LIBRARY / name).read_bytes()
        tree = ast.parse(source)
        nodes = list(ast.walk(tree))
        for package in (name.parts[0].removesuffix(".py"), "total"):
            row = table[package]
            row["files"] += 1
            row["lines"] += source.count(b"\n") + (bool(source) and not source.endswith(b"\n"))
            row["functions"] += sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
            row["classes"] += sum(isinstance(node, ast.ClassDef) for node in nodes)
            row["imports"] += sum(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes)
            row["nodes"] += len(nodes)
            row["depth"] = max(row["depth"], block_depth(tree.body))
    return dict(table)


def library_files():
    found = []
    for folder, folders, files in os.walk(LIBRARY):
        folders[:] = [each for each in folders if each not in ("site-packages", "dist-packages")]
        found += [Path(folder, file).relative_to(LIBRARY) for file in files if file.endswith(".py")]
    return sorted((name for name in found if (LIBRARY / name).is_file()), key=Path.as_posix)


def test_census(runner, run_example, tmp_path):
    done = run_example(runner, "stdlib_census.py", "--limit", "70")
    folder = tmp_path / "results" / "census"
    table = read_table(folder / "census.csv")
    assert table == counted_here(70)
    assert list(table) == [*sorted(set(table) - {"total"}), "total"]
    assert table["total"]["files"] == 70
    assert (folder / "errors.txt").read_text() == ""
    assert (folder / "census.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert f"70 files in {len(table) - 1} packages: {table['total']['lines']:,} lines" in done.stdout
    assert "as a check" in done.stdout
    for name in ("census.csv", "errors.txt", "census.png"):
        assert f"results/census/{name}" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_census_of_everything(run_example, tmp_path):
    done = run_example("python", "stdlib_census.py", "--no-check", "--out", "out")
    table = read_table(tmp_path / "out" / "census.csv")
    names = library_files()
    assert table["total"]["files"] == len(names)
    assert set(table) == {name.parts[0].removesuffix(".py") for name in names} | {"total"}
    assert {"ast", "asyncio", "json", "os"} <= set(table)
    assert "as a check" not in done.stdout


@pytest.fixture
def without_matplotlib(tmp_path):
    """An environment in which matplotlib cannot be imported."""
    missing = tmp_path / "path" / "matplotlib"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError(\"No module named 'matplotlib'\")\n")
    return {"PYTHONPATH": str(missing.parent)}


def test_census_by_a_deep_tree(examples, run_example, tmp_path, without_matplotlib):
    """With two inputs a merge, the tree has many levels, as with the default it has for thousands of files."""
    source = (examples / "stdlib_census.py").read_text()
    changed = source.replace("FAN_IN = 16\n", "FAN_IN = 2\n")
    assert changed != source
    (tmp_path / "binary.py").write_text(changed)
    # The second run's table takes the place of the first's.
    for limit in (10, 70):
        run_example("python", tmp_path / "binary.py", "--limit", f"{limit}", "--no-check", env=without_matplotlib)
    assert read_table(tmp_path / "results" / "census" / "census.csv") == counted_here(70)


def test_census_without_matplotlib(run_example, tmp_path, without_matplotlib):
    done = run_example("python", "stdlib_census.py", "--limit", "5", env=without_matplotlib)
    assert "no figure: No module named 'matplotlib' (pip install matplotlib)\n" in done.stdout
    assert done.stderr == ""
    assert sorted(path.name for path in (tmp_path / "results" / "census").iterdir()) == ["census.csv", "errors.txt"]


BAD_SOURCES = {
    b"x = (\n\n": (2, "SyntaxError"),
    b"# -*- coding: no-such -*-\n": (1, "SyntaxError"),
    b"x = '\xff'": (1, "SyntaxError"),
    b"x = '\0'\n": (1, "(SyntaxError|ValueError)"),  # which of the two depends on Python's version
    b"(" * 1000 + b")" * 1000: (1, "(SyntaxError|MemoryError|RecursionError)"),
}


@pytest.mark.parametrize("source", BAD_SOURCES, ids=["syntax", "codec", "bytes", "nul", "deep"])
def test_what_does_not_parse_is_recorded(source, census):
    lines, kind = BAD_SOURCES[source]
    found = census.measure("bad/bad.py", source)
    assert re.match(rf"bad/bad\.py: {kind}: ", found.errors[0])
    assert (found.files, found.lines, found.nodes) == (1, lines, 0)
    assert census.add_up("bad", [found, found]).errors == 2 * found.errors


@pytest.mark.parametrize(
    ("source", "depth"),
    [
        ("", 0),
        ("x = 1; y = 2", 0),
        ("if a: b", 1),
        ("if a:\n  b\nelif c:\n  d\nelif e:\n  f\nelse:\n  g", 1),
        ("if a:\n  b\nelse:\n  if c:\n    d", 2),
        ("class C:\n  async def f(self):\n    try:\n      a\n    except B:\n      with c: d", 4),
        ("match a:\n  case 1:\n    b", 1),
    ],
)
def test_depth(source, depth, census):
    assert census.measure("name.py", source.encode()).depth == depth


def test_warnings_are_not_errors(census):
    """The tests turn warnings into errors, as -W error does for a user."""
    assert census.measure("name.py", rb"x = '\d'").errors == ()


@pytest.fixture(scope="session")
def counted(census):
    return census.sequential_census(census.source_files()[:20])


@pytest.fixture
def results(counted):
    return list(counted)


def test_no_differences(census, results):
    assert census.differences(results, list(results)) == []


@pytest.mark.parametrize("field", ["name", *COLUMNS])
def test_a_changed_row_is_a_difference(field, census, results):
    old = getattr(results[3], field)
    new = {str: "other.py", int: 12345, tuple: ("an error",)}[type(old)]
    changed = dataclasses.replace(results[3], **{field: new})
    (line,) = census.differences([*results[:3], changed, *results[4:]], results)
    assert line == f"found {changed}, expected {results[3]}"


def test_a_missing_row_is_a_difference(census, results):
    (line,) = census.differences(results[:-1], results)
    assert line == f"found None, expected {results[-1]}"
    (line,) = census.differences(results, results[:-1])
    assert line == f"found {results[-1]}, expected None"


def main_with(census, monkeypatch, folder, *arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["stdlib_census.py", "--limit", "20", *arguments])
    census.main()


def test_a_difference_ends_the_census(census, results, monkeypatch, tmp_path):
    results[3] = dataclasses.replace(results[3], lines=results[3].lines + 1)
    monkeypatch.setattr(census, "parallel_census", lambda names: results)
    with pytest.raises(SystemExit, match="the two differ") as raised:
        main_with(census, monkeypatch, tmp_path)
    assert str(results[3]) in raised.value.code
    assert not (tmp_path / "results").exists()


def test_a_lost_file_ends_the_census_even_unchecked(census, results, monkeypatch, tmp_path):
    results[-1] = dataclasses.replace(results[-1], files=19)
    monkeypatch.setattr(census, "parallel_census", lambda names: results)
    with pytest.raises(SystemExit, match="20 files were sent out and 19 came back"):
        main_with(census, monkeypatch, tmp_path, "--no-check")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("count", [0, 399])
def test_too_few_files_end_the_census(count, census, monkeypatch, tmp_path):
    for number in range(count):
        (tmp_path / f"m{number}.py").touch()
    monkeypatch.setattr(census, "library", lambda: tmp_path)
    with pytest.raises(SystemExit, match=f"has {count} source files; a standard library has 400 or more"):
        main_with(census, monkeypatch, tmp_path)


def test_installed_packages_are_not_the_library(census, monkeypatch, tmp_path):
    for name in ("a.py", "b/c.py", "b/site-packages.py", "site-packages/d.py", "x/dist-packages/e.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "gone.py").symlink_to(tmp_path / "nothing")
    monkeypatch.setattr(census, "library", lambda: tmp_path)
    assert census.source_files() == ["a.py", "b/c.py", "b/site-packages.py"]


def test_a_source_missing_on_the_worker_is_an_error_and_not_a_count(examples, run_example, tmp_path):
    source = (examples / "stdlib_census.py").read_text()
    changed = source.replace("names = names[: args.limit]", "names = ['nothing.py']")
    assert changed != source
    (tmp_path / "missing.py").write_text(changed)
    done = run_example("python", tmp_path / "missing.py", code=1)
    assert "nothing.py" in done.stderr


@pytest.mark.parametrize("runner", [pytest.param("pilotage-threads", marks=pytest.mark.slow), "pilotage-laptop"])
def test_help_goes_to_the_script(runner, run_example):
    assert "--limit N" in run_example(runner, "stdlib_census.py", "--help").stdout


def test_run_all_runs_every_example(examples):
    """The list in run_all is what is in the folder."""
    listed = set(re.findall(r"\b\w+", (examples / "run_all").read_text()))
    assert {path.stem for path in examples.glob("*.py")} <= listed


def test_only_parsl_and_the_standard_library_are_imported(examples):
    for path in examples.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.split(".")[0]
                assert root in {"parsl", *sys.stdlib_module_names} or name == "matplotlib.figure", (path, name)
