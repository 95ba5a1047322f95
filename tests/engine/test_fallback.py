"""Where calls go on when their site has failed: on executors of this process, some of which fail as sites do."""

import logging

import parsl
import pytest
from parsl.app.app import bash_app, join_app, python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.executors.errors import BadStateException, ScalingFailed
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.executors.threads import ThreadPoolExecutor

import pilotage
from pilotage import events
from pilotage.engine.fallback import following, order_of
from pilotage.errors import UsageError

KINDS = {
    "a worker": lambda executor: WorkerLost(0, "node1"),
    "a manager": lambda executor: ManagerLost(b"it", "node1"),
    "all blocks": lambda executor: BadStateException(executor, RuntimeError("sbatch has refused")),
    "a submission": lambda executor: ScalingFailed(executor, "no job id"),
}


class Failing(ThreadPoolExecutor):
    """Its tasks fail as ``kind`` says, when they are submitted or later; ``tried`` counts them."""

    def __init__(self, label, kind=None, at_once=False):
        super().__init__(label=label, max_threads=2)
        self.kind, self.at_once, self.tried, self.bad_state_is_set = kind, at_once, 0, False

    def submit(self, function, resources, *args, **kwargs):
        self.tried += 1
        if self.kind is None:
            return super().submit(function, resources, *args, **kwargs)
        error = KINDS[self.kind](self)
        if self.at_once:
            raise error

        def fail():
            raise error

        return super().submit(fail, {})


@pytest.fixture
def load(tmp_path):
    started = []

    def start(*executors, **options):
        options = {"retry_handler": pilotage.fallback(), "run_dir": str(tmp_path / "runinfo"), **options}
        config = Config(list(executors), strategy="none", initialize_logging=False, **options)
        started.append(parsl.load(config))
        return started[-1]

    yield start
    for kernel in started:
        kernel.cleanup()
    DataFlowKernelLoader.clear()


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What was told of it."""
    monkeypatch.setattr(events, "current", events.Events(tmp_path / "events.jsonl"))
    return lambda: [event["message"] for event in events.current.read()[0]]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(logging.getLogger("parsl.dataflow.dflow"), "disabled", True)


@pilotage.fallback("gpu", "cpu")
@python_app
def where(x=1):
    import threading

    return threading.current_thread().name.partition("-")[2].partition("_")[0], x


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_of_the_site_falls_over_and_is_free(load, told, kind, at_once):
    gpu, cpu = Failing("gpu", kind, at_once), Failing("cpu")
    load(cpu, gpu, retries=0)
    futures = [where(n) for n in range(3)]
    assert [future.result() for future in futures] == [("cpu", n) for n in range(3)]
    assert (gpu.tried, cpu.tried) == (3, 3)
    assert len(told()) == 1, "once, not for each task"
    assert told()[0].startswith("tasks of 'gpu' that may, go on at 'cpu': ")


def test_without_an_order_it_fails_where_it_is(load):
    """The control."""
    gpu, cpu = Failing("gpu", "a worker"), Failing("cpu")
    load(gpu, cpu, retries=1)
    with pytest.raises(WorkerLost):
        python_app(lambda: 1, executors=["gpu"])().result()
    assert (gpu.tried, cpu.tried) == (2, 0)


def test_where_the_last_fails_too_the_retries_count(load):
    first, second = Failing("gpu", "a worker"), Failing("cpu", "a manager")
    load(first, second, retries=2)
    with pytest.raises(ManagerLost):
        where().result()
    assert (first.tried, second.tried) == (1, 3)


@pytest.mark.parametrize(("retries", "tries"), [(0, (1, 0)), (1, (1, 1)), (2, (1, 2))])
def test_an_exception_of_the_app_costs_a_retry_each(load, told, retries, tries):
    gpu, cpu = Failing("gpu"), Failing("cpu")
    load(gpu, cpu, retries=retries)

    @pilotage.fallback("gpu", "cpu")
    @python_app
    def broken():
        raise LookupError("mine")

    future = broken()
    with pytest.raises(LookupError):
        future.result()
    assert (gpu.tried, cpu.tried) == tries
    assert future.task_record["executor"] == ("cpu" if retries else "gpu"), "that of the last try"
    assert told() == []


def test_a_site_that_has_failed_is_passed_over(load):
    executors = [Failing("a", "a worker"), Failing("b"), Failing("c")]
    executors[1].bad_state_is_set = True
    load(*executors)

    @pilotage.fallback("a", "b", "c")
    @python_app
    def here():
        return 1

    assert here().result() == 1
    assert [executor.tried for executor in executors] == [1, 0, 1]


def test_an_exception_of_the_app_on_a_site_that_has_failed_is_the_site_s(load):
    """What a site's failure looks like is not known of every executor."""
    gpu, cpu = Failing("gpu"), Failing("cpu")
    gpu.bad_state_is_set = True
    load(gpu, cpu)

    @pilotage.fallback("gpu", "cpu")
    @python_app(executors=["gpu"])
    def here():
        import threading

        if "gpu" in threading.current_thread().name:
            raise RuntimeError("no idea")
        return 1

    assert here().result() == 1


def test_labels_that_the_run_does_not_have_are_left_out(load):
    gpu, cpu = Failing("gpu", "a worker"), Failing("cpu")
    load(gpu, cpu)

    @pilotage.fallback("gpu", "tpu", "cpu")
    @python_app
    def here():
        return 1

    assert here().result() == 1


def test_an_order_for_a_whole_config(load):
    """As the retry handler itself; what an app says of itself wins."""
    executors = {label: Failing(label, label < "c" and "a worker") for label in ("a", "b", "c", "d")}
    executors["c"].kind = executors["d"].kind = None
    load(*executors.values(), retry_handler=pilotage.fallback("a", "b", "c"))
    assert python_app(lambda: 1, executors=["a"])().result() == 1
    assert [executor.tried for executor in executors.values()] == [1, 1, 1, 0]
    own = pilotage.fallback("a", "d")(python_app(lambda: 2))
    assert own().result() == 2
    assert [executor.tried for executor in executors.values()] == [2, 1, 1, 1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Parsl leaves their files open
def test_bash_apps(load, tmp_path):
    gpu, cpu = Failing("gpu", "a worker"), Failing("cpu")
    load(gpu, cpu)

    @pilotage.fallback("gpu", "cpu")
    @bash_app
    def above(stdout):
        return "echo 1"

    @bash_app(executors=["gpu"])
    @pilotage.fallback("gpu", "cpu")
    def below(stdout):
        return "echo 2"

    assert above(stdout=str(tmp_path / "1")).result() == below(stdout=str(tmp_path / "2")).result() == 0
    assert [(tmp_path / name).read_text() for name in "12"] == ["1\n", "2\n"]
    assert (gpu.tried, cpu.tried) == (2, 2)


def test_what_depends_on_it_and_joins(load):
    gpu, cpu = Failing("gpu", "a worker"), Failing("cpu")
    load(gpu, cpu)

    @join_app
    @pilotage.fallback("gpu", "cpu")
    def joined():
        return where(3)

    assert joined().result() == ("cpu", 3)
    lost = python_app(lambda: 1, executors=["gpu"])()
    with pytest.raises(parsl.dataflow.errors.DependencyError):
        where(lost).result()
    assert cpu.tried == 1, "what has no arguments is tried nowhere"


def test_maps(load):
    gpu, cpu = Failing("gpu", "all blocks", at_once=True), Failing("cpu")
    load(gpu, cpu)
    assert list(pilotage.map(where, range(20))) == [("cpu", n) for n in range(20)]

    @pilotage.fallback("gpu", "cpu")
    def plain(x):
        return x + 1

    assert list(pilotage.map(plain, range(20), executors=["gpu"])) == list(range(1, 21))
    assert gpu.tried >= 2


@pytest.mark.parametrize(
    "labels", [("gpu", "gpu"), ("",), (3,), ("all",), ("_parsl_internal",), (["gpu", "cpu"],)], ids=str
)
def test_labels_that_are_none(labels):
    with pytest.raises(UsageError):
        pilotage.fallback(*labels)


def test_a_decorator_needs_labels_and_an_app():
    with pytest.raises(UsageError, match="needs labels"):
        pilotage.fallback()(lambda: 1)
    with pytest.raises(UsageError, match="an app to decorate"):
        pilotage.fallback("gpu")("cpu")


def test_what_follows():
    known = dict.fromkeys("abc")
    assert following(("a", "b"), "a", known) == "b"
    assert following(("a", "b"), "b", known) is None
    assert following(("a", "b"), "c", known) == "a", "a site that is not in the order is before its first"
    assert following((), "a", known) is None
    assert following(("a", "x", "c"), "a", known) == "c"
    assert order_of(lambda: 1) == ()
