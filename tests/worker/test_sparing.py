"""What is left out while Parsl is imported, that it is there all the same, and that others import as ever."""

import subprocess
import sys

import pytest


def run(program, *, folder):
    (folder / "program.py").write_text(program)  # typeguard reads the source of what it checks
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


IMPORT = """
import builtins, sys
sys.path.insert(0, ".")
original = builtins.__import__
from pilotage.worker.sparing import sparing
with sparing({really}):
    import another
    import parsl
    from parsl.executors.high_throughput import interchange, process_worker_pool
assert builtins.__import__ is original
"""
LOADED = "print(*(name in sys.modules for name in ('typeguard', 'requests', 'kubernetes', 'sqlalchemy')))\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "another.py").write_text("")
    return tmp_path


def test_left_out(folder):
    assert run(IMPORT.format(really=True) + LOADED, folder=folder) == ["False"] * 4
    usually = run(IMPORT.format(really=False) + LOADED, folder=folder)
    assert usually[:2] == ["True", "True"]


def test_it_is_there_when_it_is_used(folder):
    program = """
    import requests, typeguard
    import parsl.addresses, parsl.data_provider.http
    assert parsl.addresses.requests.get is parsl.data_provider.http.requests.get is requests.get
    try:
        from kubernetes import client
    except ImportError:
        assert not parsl.providers.kubernetes.kube._kubernetes_enabled
    else:
        assert parsl.providers.kubernetes.kube.client.V1Pod is client.V1Pod
        assert parsl.providers.kubernetes.kube.config.load_kube_config
    @typeguard.typechecked
    def of_a_task(x: int): return x
    try:
        of_a_task("a")
    except typeguard.TypeCheckError:
        print("checked")
    from parsl.utils import get_std_fname_mode
    for call in (lambda: get_std_fname_mode("stdout", ["out", "w"]), lambda: parsl.Config(run_dir=1)):
        try:
            call()
        except typeguard.TypeCheckError:
            print("checked")
    assert get_std_fname_mode("stdout", ("out", "w")) == ("out", "w")
    parsl.Config(executors=[parsl.ThreadPoolExecutor(max_threads=1)])
    """
    assert run(IMPORT.format(really=True) + _plain(program), folder=folder) == ["checked"] * 3


def _plain(program):
    return "\n".join(line.removeprefix("    ") for line in program.splitlines()) + "\n"


def test_other_packages_import_as_ever_meanwhile(folder):
    (folder / "another.py").write_text("import typeguard, requests\nprint(typeguard.TypeCheckError, requests.get)\n")
    said = run(IMPORT.format(really=True) + "print(type(parsl.addresses.requests).__name__)\n", folder=folder)
    assert said[:2] == ["<class", "'typeguard.TypeCheckError'>"]
    assert said[-1] == "Late"


def test_not_where_parsl_is_there_already(folder):
    program = (
        "import parsl, typeguard\n" + IMPORT.format(really=True) + "print(type(parsl.addresses.requests).__name__)"
    )
    assert run(program, folder=folder) == ["module"]


def test_a_driver_that_imports_the_interchanges_module_checks(folder):
    program = """
    import pilotage.engine.interchange
    import parsl, typeguard
    try:
        parsl.Config(executors=3)
    except typeguard.TypeCheckError:
        print("checked")
    """
    assert run(_plain(program), folder=folder) == ["checked"]


def test_workers_spare_it(project, pilotage):
    """In a run as it is: a new Parsl that imports in another way shows here."""
    program = """
    import parsl, pilotage

    @parsl.python_app
    def loaded():
        import sys
        return [name for name in ("typeguard", "requests", "sqlalchemy", "parsl.config") if name in sys.modules]

    if __name__ == "__main__":
        with parsl.load(pilotage.config("laptop", max_workers_per_node=1)):
            print(*loaded().result())
    """
    (project / "script.py").write_text(_plain(program))
    done = pilotage.run([sys.executable, "script.py"])
    assert done.stdout.split() == ["parsl.config"], done.stderr


def test_a_function_that_is_imported_late_can_be_pickled(folder):
    program = """
    import pickle
    from parsl.monitoring import monitoring
    late = monitoring.dbm_starter
    assert "parsl.monitoring.db_manager" not in sys.modules
    there = pickle.loads(pickle.dumps(late))
    from parsl.monitoring.db_manager import dbm_starter
    assert there is dbm_starter
    try:
        late()
    except TypeError:
        print("called")
    """
    assert run(IMPORT.format(really=True) + _plain(program), folder=folder) == ["called"]


def test_without_what_it_needs_it_fails_as_ever(folder):
    (folder / "sqlalchemy.py").write_text("raise ImportError\n")
    program = """
    from parsl.monitoring import monitoring
    print(type(monitoring._db_manager_excepts).__name__)
    """
    hidden = "import sys; sys.modules['sqlalchemy'] = None\n"
    usual = run(hidden + IMPORT.format(really=False) + _plain(program), folder=folder)
    assert run(hidden + IMPORT.format(really=True) + _plain(program), folder=folder) == usual != ["NoneType"]
