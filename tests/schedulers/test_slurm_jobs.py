"""What Slurm's answers mean; each text is what a Slurm 22.05 said."""

import pytest

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import RefusedError, State, UnclearError, together
from pilotage.schedulers.slurm_jobs import SlurmJobs

SLURM = SlurmJobs()


def answer(out="", err="", code=0, argv=("x",)):
    return Completed(tuple(argv), code, out, err)


@pytest.mark.parametrize(("text", "number"), [("11\n", "11"), ("11;a\n", "11;a"), ("warning: x\n12\n", "12")])
def test_the_id_of_a_submission(text, number):
    assert SLURM.parse_submit(answer(text)) == number


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (answer(err="sbatch: error: invalid partition specified: nope\n", code=1), RefusedError, "nope"),
        (answer(err="no answer within 30 s", code=124), UnclearError, "no answer"),
        *(
            (answer(err=f"sbatch: error: Batch job submission failed: {words}\n", code=1), UnclearError, words[:20])
            for words in (
                "Socket timed out on send/recv operation",
                "Zero Bytes were transmitted or received",
                "Unable to contact slurm controller (receive failure)",
            )
        ),
        (answer("hello\n"), UnclearError, "hello"),
        (answer(code=1), RefusedError, "exit code 1"),
    ],
)
def test_a_submission_that_failed(given, kind, words):
    with pytest.raises(kind, match=words):
        SLURM.parse_submit(given)


@pytest.mark.parametrize(
    ("line", "state", "never"),
    [
        ("1|FAILED|NonZeroExitCode|node1", State.FAILED, False),
        ("2|PENDING|PartitionTimeLimit|", State.PENDING, True),
        ("3|PENDING|PartitionConfig|", State.PENDING, True),
        ("4|FAILED|BadConstraints|", State.FAILED, False),
        ("9|PENDING|JobHeldUser|", State.HELD, False),
        ("9|PENDING|Resources|", State.PENDING, False),
        ("9|COMPLETING|None|node[1-2]", State.RUNNING, False),
        ("9|NODE_FAIL|None|node1", State.FAILED, False),
        ("9|A_NEW_STATE|None|node1", State.RUNNING, False),
        ("9|A_NEW_STATE|None|", State.PENDING, False),
    ],
)
def test_a_state_in_the_list(line, state, never):
    (observed,) = SLURM.parse_status([answer("CLUSTER: a\n" + line + "\n")]).values()
    assert (observed.state, observed.never) == (state, never)


def test_one_unknown_job_is_no_failure():
    assert SLURM.parse_status([answer(err="slurm_load_jobs error: Invalid job id specified\n", code=1)]) == {}
    with pytest.raises(UnclearError, match="Unable to contact"):
        SLURM.parse_status([answer(err="slurm_load_jobs error: Unable to contact slurm controller\n", code=1)])


def test_the_history():
    lines = ["7|COMPLETED|0:0|node1|None", "8|RUNNING|0:0|node1|None", "7.batch|x|0:0||"]
    lines.append("9|OUT_OF_MEMORY|0:125|node[1-2]|OutOfMemory")
    found = SLURM.parse_history([answer("\n".join(lines))])
    assert {job: (one.state, one.exit_code, one.nodes) for job, one in found.items()} == {
        "7": (State.COMPLETED, 0, "node1"),
        "9": (State.FAILED, 253, "node[1-2]"),
    }


def test_an_exit_code_and_a_signal():
    assert SLURM.parse_detail(answer("JobId=1 ExitCode=3:0 RunTime=0\n")) == 3
    assert SLURM.parse_detail(answer("JobId=1 ExitCode=0:9 RunTime=0\n")) == 137
    assert SLURM.parse_detail(answer(err="x", code=1)) is None


def test_clusters_are_named_in_every_question():
    there = SlurmJobs("a,b")
    commands = [*there.status_commands(["1"]), *there.history_commands(["1"]), there.cancel_command(["1"])]
    commands += [there.list_command("me"), there.detail_command("1")]
    assert all("--clusters=a,b" in command for command in commands)


def test_each_cluster_is_asked_for_its_own_jobs():
    """Each counts for itself: there are two jobs 7, and somebody else's may be the other."""
    there = SlurmJobs("a,b")
    assert there.parse_submit(answer("7;b\n")) == "7;b"
    ids = ["7;b", "8;a", "9;b"]
    for commands in (there.status_commands(ids), there.history_commands(ids)):
        assert [(c[1], c[-2]) for c in commands] == [("--clusters=b", "--jobs=7,9"), ("--clusters=a", "--jobs=8")]
    assert [there.cancel_command(some) for some in together(ids)] == [
        ("scancel", "--clusters=b", "7", "9"),
        ("scancel", "--clusters=a", "8"),
    ]
    assert there.detail_command("8;a")[1] == "--clusters=a"
    answers = [
        answer(f"{job}|RUNNING|None|n1\n", argv=["squeue", f"--clusters={name}", "--noheader"])
        for job, name in (("7", "b"), ("8", "a"))
    ]
    assert set(there.parse_status(answers)) == {"7;b", "8;a"}
    assert "--noheader" not in there.list_command("me"), "nothing would say whose jobs follow"
    told = "CLUSTER: a\nJOBID|NAME\n7|theirs\n\nCLUSTER: b\nJOBID|NAME\n7|ours\n"
    assert there.parse_list(answer(told, argv=there.list_command("me"))) == {"7;a": "theirs", "7;b": "ours"}
    told = answer("7|ours\n", argv=SlurmJobs("a").list_command("me"))
    assert SlurmJobs("a").parse_list(told) == {"7;a": "ours"}
    history = answer("7|FAILED|3:0|n1|None\n", argv=there.history_commands(["7;b"])[0])
    assert there.parse_history([history])["7;b"].exit_code == 3


def test_one_cluster_is_known_though_sbatch_does_not_say_it():
    assert SlurmJobs("a").parse_submit(answer("7\n")) == "7;a"
    assert SlurmJobs("a,b").parse_submit(answer("7\n")) == "7"


def test_of_several_jobs_one_that_is_gone_says_nothing_of_the_others():
    gone = "scancel: error: Kill job error on job id 7: Invalid job id specified\n"
    assert SLURM.is_gone(answer(err=gone, code=1))
    assert not SLURM.is_gone(answer(err=gone + "scancel: error: Kill job error on job id 8: Access denied\n", code=1))
    assert not SLURM.is_gone(answer(err=gone + "no answer within 30 s", code=124))


def test_names():
    assert SLURM.parse_list(answer("8|other\n9|pilotage-x.block-0\n")) == {"8": "other", "9": "pilotage-x.block-0"}
    with pytest.raises(UnclearError):
        SLURM.parse_list(answer(code=1))
