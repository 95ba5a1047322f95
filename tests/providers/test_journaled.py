"""Jobs of any provider are in the journal, from before they are submitted until they are over."""

import importlib
import pkgutil
import subprocess

import pytest
from parsl.executors import HighThroughputExecutor
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import SimpleLauncher
from parsl.providers import GridEngineProvider, LocalProvider, LSFProvider, PBSProProvider, SlurmProvider
from parsl.providers.base import ExecutionProvider
from parsl.providers.errors import SubmitException

from pilotage import journal, providers
from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost
from pilotage.providers import jobs, journaled, scripts
from pilotage.providers.local import LocalProvider as OurLocalProvider
from pilotage.providers.pool import PoolProvider
from pilotage.runs import ending
from pilotage.worker import processes

RUNS, DONE = JobStatus(JobState.RUNNING), JobStatus(JobState.COMPLETED)


class Fake(ExecutionProvider):
    """A provider of somebody's own."""

    label = "fake"
    status_polling_interval = 7

    def __init__(self, *answers):
        self.answers = list(answers)
        self.seen, self.names = [], []
        self.states, self.cancels = {}, True
        self.script_dir = None
        self.nodes_per_block = 3

    def submit(self, command, tasks_per_node, job_name="parsl.auto"):
        self.seen.append(list(journal.current.open_entries()))
        self.names.append(job_name)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def status(self, job_ids):
        return [self.states.get(job, RUNS) for job in job_ids]

    def cancel(self, job_ids):
        return [self.cancels for _ in job_ids]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The journal of a run ``run-1``."""
    folder = tmp_path / "run-1"
    folder.mkdir()
    made = journal.Journal(folder / "journal.jsonl")
    made.create()
    monkeypatch.setattr(journal, "current", made)
    return made


def test_a_job_is_written_down_first_and_again_with_its_id(written):
    fake = Fake("job-1")
    provider = journaled.journaled(fake)
    assert provider.submit("run", 1, "parsl.x.block-0") == "job-1"
    assert fake.names == ["pilotage-run-1.parsl.x.block-0"]
    ((before,),) = fake.seen
    assert (before.kind, before.id) == ("provider_job", None)
    (after,) = written.open_entries()
    assert (after.key, after.id) == (before.key, {"job_id": "job-1"})
    assert after.what["provider"].endswith(".Fake")
    assert after.what["name"] == "pilotage-run-1.parsl.x.block-0"


def test_it_is_over_when_the_provider_says_so(written):
    fake = Fake("a", "b", "c")
    provider = journaled.journaled(fake)
    for number in range(3):
        provider.submit("run", 1, f"block-{number}")
    fake.states["b"] = DONE
    assert provider.status(["a", "b", "c"]) == [RUNS, DONE, RUNS]
    assert [entry.id["job_id"] for entry in written.open_entries()] == ["a", "c"]
    assert provider.cancel(["a"]) == [True]
    assert [entry.id["job_id"] for entry in written.open_entries()] == ["c"]
    fake.cancels = False
    assert provider.cancel(["c"]) == [False]
    assert [entry.id["job_id"] for entry in written.open_entries()] == ["c"], "it is there still"


def test_what_was_refused_is_over_and_what_had_no_answer_is_not(written):
    refused, odd = SubmitException("x", "no", retcode=1), SubmitException("x", "what id?", retcode=0)
    fake = Fake(refused, None, odd, subprocess.TimeoutExpired("sbatch", 10))
    provider = journaled.journaled(fake)
    with pytest.raises(SubmitException):
        provider.submit("run", 1, "a")
    assert provider.submit("run", 1, "b") is None
    assert written.open_entries() == []
    with pytest.raises(SubmitException):
        provider.submit("run", 1, "c")
    with pytest.raises(subprocess.TimeoutExpired):
        provider.submit("run", 1, "d")
    assert [(entry.what["name"], entry.id) for entry in written.open_entries()] == [
        ("pilotage-run-1.c", None),
        ("pilotage-run-1.d", None),
    ]


def test_it_stays_what_it_was(written):
    fake = Fake("1")
    provider = journaled.journaled(fake)
    assert provider is fake
    assert type(provider) is Fake
    provider.submit("run", 1, "block-0")
    journaled.journaled(journaled.journaled(fake))
    fake.answers = ["2"]
    fake.submit("run", 1, "block-1")
    assert [entry.id["job_id"] for entry in written.open_entries()] == ["1", "2"], "each once"
    assert HighThroughputExecutor(provider=fake, address="127.0.0.1").provider is fake


def test_those_that_keep_the_journal_themselves_stay_as_they_are(written):
    ours = OurLocalProvider()
    slurm = scripts.SlurmProvider(partition="debug", launcher=SimpleLauncher())
    for provider in (ours, slurm, PoolProvider(["node1"])):
        assert journaled.journaled(provider) is provider
        assert "submit" not in vars(provider)


def test_without_a_run_nothing_is_written(monkeypatch):
    monkeypatch.setattr(journal, "current", None)
    fake = Fake("1")
    fake.submit = lambda command, tasks, name: name
    provider = journaled.journaled(fake)
    assert provider.submit("run", 1, "block-0") == "block-0"
    assert provider.cancel(["block-0"]) == [True]


def test_all_of_pilotages_own_keep_it_themselves(written):
    """One that is written anew, and is not named there, would have each job in the journal twice."""
    for module in pkgutil.iter_modules(providers.__path__):
        found = vars(importlib.import_module(f"pilotage.providers.{module.name}")).values()
        for kind in found:
            if (
                isinstance(kind, type)
                and issubclass(kind, ExecutionProvider)
                and kind.__module__.startswith("pilotage")
            ):
                provider = kind.__new__(kind)
                assert "submit" not in vars(journaled.journaled(provider)), kind


# A scheduler that is known


class Host(LocalHost):
    """Answers the commands of a scheduler by the words on their lines."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def run(self, argv, *, timeout):
        self.asked.append(tuple(argv))
        code, out, err = self.answers.get(argv[0], (0, "", ""))
        return Completed(tuple(argv), code, out, err)


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(jobs, "SOON", 0.0)

    def make(**answers):
        made = Host(**answers)
        monkeypatch.setattr(jobs, "LocalHost", lambda: made)
        return made

    return make


KNOWN = {
    SlurmProvider: ("slurm", "7", ("scancel", "7")),
    PBSProProvider: ("pbspro", "7.head", ("qdel", "7.head")),
    GridEngineProvider: ("gridengine", "7", ("qdel", "7")),
}


def of_a_scheduler(kind, answer="7", **options):
    """Return Parsl's own provider of a scheduler, whose submission is answered with an id."""

    class Known(kind):
        def __init__(self):
            self.resources, self.clusters, self.name = {}, options.get("clusters"), None
            self.state = RUNS

        def submit(self, command, tasks_per_node, job_name="x"):
            self.name = f"{job_name}.1700000000.25"  # as Parsl's do
            if isinstance(answer, Exception):
                raise answer
            return answer

        def status(self, job_ids):
            return [self.state for _ in job_ids]

    return Known()


@pytest.mark.parametrize("kind", KNOWN)
def test_a_job_of_a_known_scheduler_is_ended_from_the_journal(written, host, kind):
    name, job, command = KNOWN[kind]
    machine = host()
    journaled.journaled(of_a_scheduler(kind, job)).submit("run", 1, "parsl.x.block-0")
    (entry,) = written.open_entries()
    assert (entry.kind, entry.what["scheduler"], entry.id) == ("batch_job", name, {"job_id": job})
    assert ending.end_all(written) == []
    assert machine.asked == [command]
    assert written.open_entries() == []


def test_one_that_had_no_answer_is_found_by_how_its_name_begins(written, host):
    provider = of_a_scheduler(SlurmProvider, subprocess.TimeoutExpired("sbatch", 10))
    with pytest.raises(subprocess.TimeoutExpired):
        journaled.journaled(provider).submit("run", 1, "parsl.x.block-1")
    others = "5|pilotage-run-1.parsl.x.block-10.1700000000.5\n6|pilotage-run-2.parsl.x.block-1.17\n"
    machine = host(squeue=(0, f"{others}7|{provider.name}\n", ""))
    assert ending.end_all(written) == []
    assert machine.asked[-1] == ("scancel", "7")


def test_on_another_cluster_it_is_ended_there(written, host):
    machine = host()
    journaled.journaled(of_a_scheduler(SlurmProvider, clusters="far")).submit("run", 1, "x")
    assert ending.end_all(written) == []
    assert machine.asked == [("scancel", "--clusters=far", "7")]


def test_of_several_clusters_it_is_found_by_its_name(written, host):
    """Each has a job 7, and the other may be somebody's of the same user."""
    inner = of_a_scheduler(SlurmProvider, clusters="far,near")
    journaled.journaled(inner).submit("run", 1, "x")
    machine = host(squeue=(0, f"CLUSTER: far\n7|other\nCLUSTER: near\n7|{inner.name}\n", ""))
    assert ending.end_all(written) == []
    assert machine.asked[-1] == ("scancel", "--clusters=near", "7")


@pytest.mark.parametrize(
    ("answer", "over"),
    [
        ((0, "7|RUNNING|None|node1\n", ""), False),
        ((0, "7|COMPLETED|None|node1\n", ""), True),
        ((1, "", "slurm_load_jobs error: Invalid job id specified"), True),
        ((1, "", "slurm_load_jobs error: Unable to contact slurm controller"), False),
    ],
)
def test_parsls_word_that_a_job_is_over_is_not_enough(written, host, monkeypatch, answer, over):
    """Its SlurmProvider calls a running job COMPLETED where sacct is late."""
    host(squeue=answer)
    inner = of_a_scheduler(SlurmProvider)
    provider = journaled.journaled(inner)
    provider.submit("run", 1, "x")
    inner.state = DONE
    assert provider.status(["7"]) == [DONE]
    assert len(written.open_entries()) == 1, "it was submitted just now, and need not be listed yet"
    monkeypatch.setattr(journaled, "NEW", 0.0)
    assert provider.status(["7"]) == [DONE]
    assert (written.open_entries() == []) is over


# Others


def test_a_process_of_parsls_local_provider_is_ended(written, tmp_path):
    inner = LocalProvider()
    inner.script_dir = str(tmp_path)
    provider = journaled.journaled(inner)
    job = provider.submit("sleep 600", 1, "parsl.x.block-0")
    (entry,) = written.open_entries()
    assert (entry.kind, entry.id) == ("process", processes.identity(int(job)))
    assert processes.is_alive(entry.id)
    assert ending.end_all(written) == []
    assert not processes.is_alive(entry.id)
    assert written.open_entries() == []


def test_a_job_that_nobody_knows_how_to_end_is_for_a_person(written):
    journaled.journaled(Fake("job-1")).submit("run", 1, "block-0")
    ((entry, why),) = ending.end_all(written)
    assert "End it by hand, if it is there still" in why
    assert f"{__name__}.Fake".rpartition(".")[2] in why
    assert ending.describe([entry]) == ["provider job job-1 pilotage-run-1.block-0 of Fake"]
    assert written.open_entries() == [entry]


def test_the_command_is_told_where_it_is_known(written):
    class Ours(LSFProvider):
        def __init__(self):
            pass

        def submit(self, command, tasks_per_node, job_name="x"):
            return "41" if "block-0" in job_name else 1 / 0

    provider = journaled.journaled(Ours())
    provider.submit("run", 1, "block-0")
    with pytest.raises(ZeroDivisionError):
        provider.submit("run", 1, "block-1")
    (one, two) = (words for _, words in ending.end_all(written))
    assert "whether it was submitted is not known" in one
    assert "End it by hand: bkill 41, if it is there still" in two


def test_a_pod_is_named_as_kubectl_has_it(written, monkeypatch):
    from parsl.providers import KubernetesProvider

    class Ours(KubernetesProvider):
        def __init__(self):
            self.namespace, self.resources = "lab", {}

        def submit(self, command, tasks_per_node, job_name="x"):
            self.resources["8f"] = {"pod_name": f"{job_name}.8f"}
            return "8f"

    journaled.journaled(Ours()).submit("run", 1, "block-0")
    ((_, why),) = ending.end_all(written)
    assert "kubectl delete pod pilotage-run-1.block-0.8f --namespace lab" in why


def test_an_entry_of_a_version_to_come_is_told_too():
    entry = journal.Entry("k", "provider_job", {}, {"job_id": "5"}, 0.0)
    assert "only a provider knows" in ending.end(entry)
