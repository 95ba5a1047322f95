"""What holds of the data of many tasks at once: each input comes once, no two outputs are one, no listing escapes."""

import pytest
from data_run import content, within
from fault_run import until

from stores.faults import HttpProxy

SIZE = 400_000
STAGING = "shared_filesystem = false\ns3.endpoint_url = '{}'\n"


def asked(proxy, bucket, name, method="GET"):
    """Return how often an object was asked for."""
    return sum(one[:2] == [method, f"/{bucket.name}/{name}"] for one in proxy.requests)


def shared_inputs(data_run, bucket, proxy, **more):
    """Run eight tasks on four workers, which have two inputs together."""
    bucket.write("common", content("common", SIZE))
    run = data_run([], STAGING.format(proxy.url), workers=4, **more)
    (run.here / "mine").write_bytes(content("mine", SIZE))
    run.plan([([bucket.url("common"), "driver:mine"], [f"driver:out/{number}"]) for number in range(8)])
    run.start()
    run.finishes()
    for number in range(8):
        assert (run.here / "out" / f"{number}").read_bytes() == content("common", SIZE) + content("mine", SIZE)
    return run


def test_what_eight_tasks_of_a_node_read_is_brought_once(data_run, bucket, data_matrix):
    with (
        HttpProxy(bucket.port) as proxy,
        data_matrix.trial("8 tasks of a node", "one input", "without the cache it comes 8 times") as trial,
    ):
        run = shared_inputs(data_run, bucket, proxy)
        assert asked(proxy, bucket, "common") == 1
        assert run.moved("driver") == SIZE
        assert len(run.started()) == 8
        trial.came = "fetched once"


@pytest.mark.slow
def test_without_the_cache_each_task_is_brought_its_own(data_run, bucket):
    with HttpProxy(bucket.port) as proxy:
        run = shared_inputs(data_run, bucket, proxy, env=within("cache"))
        assert asked(proxy, bucket, "common") == 8
        assert run.moved("driver") == 8 * SIZE


def test_what_cannot_be_right_is_refused_and_a_changed_input_is_read_anew(data_run, bucket, data_matrix):
    for name in ("good", "changing", "tree/fine"):
        bucket.write(name, content(name, SIZE))
    for name in ("out/../../../../above", "/absolute"):
        bucket.write(f"evil{(name[0] == '/' and 1) or 2}/{name}", b"escaped")
    assert {"evil1//absolute", "evil2/out/../../../../above"} <= set(bucket.keys())  # they are in its listings
    with HttpProxy(bucket.port) as proxy:
        run = data_run([], STAGING.format(proxy.url), workers=1)
        same = [(["driver:own"], [one]) for one in (bucket.url("out/same"), f"driver:{run.here}/same")]
        tasks = [
            ([bucket.url("good")], [bucket.url("out/good")]),
            ([bucket.url("changing")], [bucket.url("out/changing")]),
            *same,
            (["driver:own"], [bucket.url("out/same")]),
            (["driver:own"], ["driver:same"]),
            ([bucket.url("evil1/")], [bucket.url("out/evil1")]),
            ([bucket.url("evil2/")], [bucket.url("out/evil2")]),
        ]
        (run.here / "own").write_bytes(content("own", SIZE))
        run.plan(tasks)
        run.start()
        errors = run.fails()
        assert run.seen() == [0, 1, 2, 3]
        with data_matrix.trial("a task", "an output of another", "other names are taken") as trial:
            for number in (4, 5):
                assert errors[number]["kind"] == "UsageError"
                assert "is an output of two tasks" in errors[number]["words"]
                assert run.started()[number] == 0
            assert bucket.read("out/same") == (run.here / "same").read_bytes() == content("own", SIZE)
            trial.came = "the second is refused"
        with data_matrix.trial("a folder", "a path that leads out of it", "the bucket lists it") as trial:
            for number in (6, 7):
                assert (errors[number]["kind"], errors[number]["where"]) == ("StageInError", tasks[number][0][0])
                assert "its listing is refused" in errors[number]["words"]
                assert run.started()[number] == 0
            found = {path.name for path in run.here.parent.rglob("*")}
            assert not found & {"above", "absolute"}
            trial.came = "refused"
        with data_matrix.trial("a resumed run", "an input that has changed", "the others do not run again") as trial:
            bucket.write("changing", content("changed", SIZE))
            tasks[4], tasks[5] = (
                ([bucket.url("good")], [bucket.url("out/4")]),
                ([bucket.url("good")], [bucket.url("5")]),
            )
            tasks[6] = tasks[7] = ([bucket.url("tree/")], [])
            run.plan(tasks)
            before = run.started()
            done = run.pilotage("resume", run.run_folders()[0].name)
            assert done.returncode == 0, done.stdout + done.stderr
            again = {number for number in range(4) if run.started()[number] > before[number]}
            assert again == {1}
            assert bucket.read("out/changing") == content("changed", SIZE)
            assert bucket.read("out/good") == content("good", SIZE)
            trial.came = "read anew"


TASKS, INPUTS, OBJECTS = 50, 20, 40
TOGETHER = """
cache = '{}'
s3.endpoint_url = '{}'
shared_filesystem = false
"""
MORE = """
[site.data.provider]
init_blocks = 2
max_blocks = 2
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_runs_of_two_managers_each_share_a_cache(data_run, bucket, data_matrix, tmp_path):
    for number in range(OBJECTS):
        bucket.write(f"{number}", content(f"{number}", SIZE))
    which = [[(number * 7 + one * 3) % OBJECTS for one in range(INPUTS)] for number in range(TASKS)]
    cache = tmp_path / "cache"
    with (
        HttpProxy(bucket.port) as proxy,
        data_matrix.trial("2 runs of 50 tasks", "one cache", "4 managers at once") as trial,
    ):
        runs = []
        for _ in range(2):
            options = ("--set", "init_blocks=2", "--set", "max_blocks=2")
            run = data_run([], TOGETHER.format(cache, proxy.url), workers=3, options=options)
            inputs = [
                [bucket.url(f"{one}") for one in ones[:-2]] + [f"driver:{one}" for one in ones[-2:]] for ones in which
            ]
            for one in range(OBJECTS):
                (run.here / f"{one}").write_bytes(content(f"{one}", SIZE))
            outputs = [[f"driver:out/{number}"] for number in range(TASKS)]
            run.plan(list(zip(inputs, outputs, strict=True)))
            runs.append(run.start())
        seen = [until(lambda run=run: len(run.processes("manager")) == 2, "two managers") for run in runs]
        assert all(seen)
        for run in runs:
            run.finishes(300)
            for number, ones in enumerate(which):
                expected = b"".join(content(f"{one}", SIZE) for one in ones)
                assert (run.here / "out" / f"{number}").read_bytes() == expected
        wanted = {one for ones in which for one in ones[:-2]}
        assert {number: asked(proxy, bucket, number) for number in wanted} == dict.fromkeys(wanted, 1)
        assert not [path for path in cache.rglob("*") if path.name.endswith(".part")]
        trial.came = "each object fetched once"
