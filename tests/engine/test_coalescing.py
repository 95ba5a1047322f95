"""The rules by which calls travel together, on real workers; each test first sees that they did."""

import sys

import pytest

HEAD = """
import os, signal, sys, threading, time, collections
import parsl, pilotage
from parsl import python_app, bash_app, join_app
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

kernel = pilotage.load("laptop", **({"max_workers_per_node": 2} | CHANGES))
executor = kernel.executors["laptop"]
engine = executor._coalescer
HERE = os.getcwd()

def short(app, *arguments, calls=40):
    \"\"\"Let a function prove that it is short.\"\"\"
    for _ in range(4):
        app(*arguments).result()
    before = engine.batches
    for _ in range(5):
        [f.result() for f in [app(*arguments) for _ in range(calls)]]
        if engine.batches > before:
            return
    raise SystemExit("no batch was formed")

def wait_for(name):
    while not os.path.exists(os.path.join(HERE, name)):
        time.sleep(0.005)

def count(name):
    return len(open(os.path.join(HERE, name)).read().split()) if os.path.exists(os.path.join(HERE, name)) else 0
"""


@pytest.fixture
def run(project, pilotage):
    """Run a script after HEAD; returns the lines of its stdout."""

    def start(text, timeout=90, **changes):
        (project / "script.py").write_text(HEAD.replace("CHANGES", repr(changes)) + text)
        done = pilotage.run([sys.executable, "script.py"], timeout=timeout)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.splitlines()

    return start


RULES = {
    "a new function starts singly, and a short one travels together": (
        """
begun = engine.batches
@python_app
def add(a, b): return a + b
first = [add(1, n) for n in range(3)]
assert [f.result() for f in first] == [1, 2, 3]
print(engine.batches - begun)
short(add, 1, 2)
before = engine.sent
futures = [add(n, 1) for n in range(2000)]
assert [f.result() for f in futures] == list(range(1, 2001))
print(engine.sent - before < 1000)
""",
        ["0", "True"],
    ),
    "idle workers are fed before batches grow": (
        """
# Calls that have become slow run at once on both workers, though their function is known to be short.
@python_app
def meet(name, others):
    # Each says that it is there and waits for the others: in a batch one after the other, that would never end.
    open(os.path.join(HERE, name), "w").close()
    for other in others: wait_for(other)
    return name
@python_app
def nothing(name, others): return name
short(meet, "a", [])
for turn in range(3):
    pair = [f"{turn}-one", f"{turn}-two"]
    assert [f.result() for f in [meet(pair[0], pair), meet(pair[1], pair)]] == pair
""",
        [],
    ),
    "a call may wait for what follows from the one before it, and for the one after it": (
        """
@python_app
def step(number, waits):
    if waits: wait_for(waits)
    open(os.path.join(HERE, f"begun-{number}"), "w").close()
    return number
for _ in range(4): step("x", "").result()
short(step, "x", "")
before = engine.batches
# 20 waits for a file that is made only once the result of 19 is used, then 40 waits for 41, which is after it.
futures = [step(n, {20: "used", 40: "begun-41"}.get(n, "")) for n in range(80)]
def use(future): open(os.path.join(HERE, "used"), "w").close()
futures[19].add_done_callback(use)
assert [f.result(60) for f in futures] == list(range(80))
print(engine.batches > before)
""",
        ["True"],
    ),
    "one slow call takes its function out until it has proved short again": (
        """
@python_app
def work(seconds): time.sleep(seconds); return seconds
import time
short(work, 0)
work(0.2).result()
before = engine.batches
assert [f.result() for f in [work(0), work(0), work(0)]] == [0, 0, 0]
print(engine.batches - before)
short(work, 0)
""",
        ["0"],
    ),
    "a global that changes reaches the calls after it": (
        """
FACTOR, TABLE = 1, {"a": 1}
def helper(x): return x + FACTOR
@python_app
def work(x): return helper(x) * TABLE["a"]
short(work, 1)
sent, futures = [], []
for n in range(200):
    if n % 50 == 49:
        [f.result() for f in futures[-49:]]   # what has been sent is as it was
        FACTOR, TABLE["a"] = n, n + 1
    futures.append(work(n))
    if n % 50 == 49: futures[-1].result()
    sent.append((n + FACTOR) * TABLE["a"])
assert [f.result() for f in futures] == sent
helper = lambda x: 0
assert work(5).result() == 0
""",
        [],
    ),
    "a function keeps what it has in its globals on its worker": (
        """
SEEN = []
@python_app
def remember(x):
    SEEN.append(x)
    return len(SEEN)
short(remember, 1)
print(max(f.result() for f in [remember(n) for n in range(100)]) > 50)
""",
        ["True"],
    ),
    "a hundred megabytes among short calls": (
        """
# The way to the worker takes longer than a batch may run; that is not the calls' fault.
@python_app
def size(x): return len(x)
short(size, b"")
before = engine.batches
futures = [size(b"") for _ in range(50)] + [size(bytes(100 << 20))] + [size(b"a") for _ in range(50)]
assert [f.result(60) for f in futures] == [0] * 50 + [100 << 20] + [1] * 50
assert engine.batches > before
""",
        [],
    ),
    "a child that a task forks and that comes back harms nothing": (
        """
@python_app
def work(n):
    with open(os.path.join(HERE, "ran"), "a") as file: file.write(f"{n}\\n")
    if n % 3 == 0 and os.fork() == 0:
        raise ValueError("the child's own")
    return n
short(work, 1)
before, ran = engine.batches, count("ran")
assert [f.result(60) for f in [work(n) for n in range(90)]] == list(range(90))
print(engine.batches > before, count("ran") - ran)
""",
        ["True 90"],
    ),
    "rules may stand above and below": (
        """
@pilotage.rules(coalesce=False)
@python_app
def above(n): return n
@pilotage.rules(coalesce=False)
@bash_app
def command(n): return f"true {n}"
before = engine.batches
for app in (above, command):
    for _ in range(4): app(0).result()
    [f.result() for f in [app(n) for n in range(20)]]
print(engine.batches - before)
""",
        ["0"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_rule(run, rule):
    text, said = RULES[rule]
    assert run(text) == said


def test_the_rules_in_one_run(run):
    assert run("".join(text for text, _ in RULES.values())) == [line for _, said in RULES.values() for line in said]


def test_switched_off_nothing_travels_together(run):
    out = run(
        """
@python_app
def add(a, b): return a + b
assert [add(n, 1).result() for n in range(9)] == list(range(1, 10))
assert [f.result() for f in [add(n, 1) for n in range(300)]] == list(range(1, 301))
print(engine)
""",
        engine={"coalesce": False},
    )
    assert out == ["None"]


def test_an_app_that_is_switched_off_travels_alone(run):
    out = run(
        """
@python_app
def alone(a): return a
@python_app
@pilotage.rules(coalesce=False)
def marked(a): return a
for app in (alone, marked):
    for _ in range(4): app(0).result()
    assert [f.result() for f in [app(n) for n in range(200)]] == list(range(200))
print(engine.batches)
@python_app
def other(a): return a
short(other, 1)
""",
        engine={"apps": {"alone": {"coalesce": False}}},
    )
    assert out == ["0"]


OUTCOMES = """
class Odd(Exception):
    def __init__(self, a, b): super().__init__("odd"); self.a, self.b = a, b
class Unreadable(Exception):
    def __reduce__(self): return (int, ("no number",))
class Mine:
    def __init__(self, value): self.value = value
    def __eq__(self, other): return type(self) is type(other) and self.value == other.value
class Unsendable:
    def __reduce__(self): raise TypeError("not this one")
FACTOR = 1
@python_app
def work(kind, value=None):
    if kind == "odd": raise Odd(1, value)
    if kind == "unreadable": raise Unreadable("text")
    if kind == "lambda": return (x for x in ())
    if kind == "class": return Mine(value)
    if kind == "print": print("printed by", value); return value
    if kind == "bytes": return len(value)
    if kind == "much": return b"x" * value
    if kind == "global": return FACTOR
    if kind == "key": return {}[value]
    return kind
def outcome(future):
    try:
        return future.result()
    except Exception as error:
        return type(error), str(error), vars(error).get("b"), type(error.__cause__)
"""


def test_each_call_has_its_own_outcome(run):
    """A batch of everything that may go wrong, and among it what goes right."""
    program = (
        OUTCOMES
        + """
if engine is not None: short(work, 1)
plan = []
for n in range(40):
    plan += [("odd", n), ("unreadable", n), ("lambda", n), ("class", Mine(n)), ("print", n), ("key", n), (n, None)]
    plan += [("bytes", b"y" * (n << 12)), ("much", n << 14)]
before = engine.batches if engine else 0
futures = []
for kind, value in plan:
    futures.append(work(kind, value))
try:
    work("class", Unsendable()).result()
except Exception as error:
    print(type(error).__name__, error)
for future, (kind, value) in zip(futures, plan):
    got = outcome(future)
    if kind == "odd": assert got == (Odd, "odd", value, type(None)), got
    elif kind == "unreadable": print(got) if value == 0 else None; assert isinstance(got, tuple), got
    elif kind == "lambda": print(got) if value == 0 else None; assert got[0] is not None, got
    elif kind == "class": assert got == Mine(value)
    elif kind == "bytes": assert got == len(value)
    elif kind == "much": assert got == b"x" * value
    elif kind == "key": assert got[:2] == (KeyError, repr(value))
    else: assert got in (kind, value), got
assert engine is None or engine.batches > before
"""
    )
    together = run(program)
    alone = run(program, engine={"coalesce": False})
    assert together == alone
    assert len(together) == 3


ENDS = {
    20: ("os._exit(7)", "ended with exit code 7"),
    40: ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
    60: ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV"),
    80: ("sys.exit(3)", "ended with exit code 3"),
}


def test_a_call_that_takes_its_worker_along_is_named_and_alone(run):
    ends = "".join(f"    if n == {number}: {end}\n" for number, (end, _) in ENDS.items())
    out = run(f"""
@python_app
def work(n):
    with open(os.path.join(HERE, "ran"), "a") as file: file.write(f"{{n}}\\n")
{ends}    return n
short(work, 1)
done = count("ran")
before = engine.batches
futures = [work(n) for n in range(100)]
for n, future in enumerate(futures):
    try:
        assert future.result(60) == n
    except WorkerLost as error:
        print(n, error)
assert engine.batches > before
print(count("ran") - done)
""")
    assert len(out) == len(ENDS) + 1
    for line, (number, (_, how)) in zip(out, ENDS.items(), strict=False):
        assert line.startswith(f"{number} work was lost: worker ")
        assert line.endswith(how)
    assert out[-1] == "100"


def test_an_app_that_may_run_twice_is_sent_again(run):
    out = run(
        """
@python_app
@pilotage.rules(rerun_lost=1)
def work(n):
    if n == 30 and not os.path.exists(os.path.join(HERE, "once")):
        open(os.path.join(HERE, "once"), "w").close()
        os._exit(1)
    if n == 70: os._exit(1)
    return n
short(work, 1)
for n, future in enumerate([work(n) for n in range(100)]):
    try:
        assert future.result(60) == n
    except WorkerLost as error:
        print(n)
"""
    )
    assert out == ["70"]


def test_a_lost_call_costs_a_retry(run):
    run(
        """
@python_app
def work(n):
    if n == 30 and not os.path.exists(os.path.join(HERE, "once")):
        open(os.path.join(HERE, "once"), "w").close()
        os._exit(1)
    return n
short(work, 1)
assert [f.result(60) for f in [work(n) for n in range(100)]] == list(range(100))
""",
        config={"retries": 1},
    )


def test_nothing_runs_twice_and_nothing_is_forgotten_under_a_storm_of_kills(run):
    """Workers are killed at any moment, idle ones too; each call ends once, and ran at most once."""
    out = run(
        """
import psutil, random
@python_app
def work(n):
    descriptor = os.open(os.path.join(HERE, "ran"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{n}\\n".encode())
    os.close(descriptor)
    time.sleep(0.0002)
    return n
short(work, -1)
stop = threading.Event()
def workers():
    # Their parent is the fork server, whose parent is the manager, whose parent is the guard.
    return [process for process in psutil.Process().children(recursive=True) if depth(process) == 4]
def depth(process):
    number = 0
    try:
        while process is not None and "pilotage.worker.pool" in " ".join(process.cmdline()):
            number, process = number + 1, process.parent()
    except psutil.Error:
        return 0
    return number
def storm():
    while not stop.wait(random.uniform(0.01, 0.1)):
        try:
            random.choice(workers() or [None]).kill()
        except (psutil.Error, AttributeError):
            pass
print(len(workers()))
thread = threading.Thread(target=storm); thread.start()
futures, lost, before = [], 0, engine.batches
deadline = time.monotonic() + 60
while time.monotonic() < deadline and (lost < 5 or len(futures) < 5000):
    batch = [work(len(futures) + k) for k in range(200)]
    for future in batch:
        try: future.result(60)
        except WorkerLost: lost += 1
    futures += batch
assert engine.batches > before
stop.set(); thread.join()
ran = collections.Counter(int(line) for line in open(os.path.join(HERE, "ran")))
ran.pop(-1)
assert max(ran.values()) == 1, ran.most_common(3)
kept = {k for k, future in enumerate(futures) if future.exception() is None}
assert kept <= set(ran), "a result of a call that never ran"
assert len(futures) - len(kept) == lost
print(lost >= 5, lost, len(futures))
""",
        timeout=150,
    )
    assert out[0] == "2"
    assert out[1].startswith("True"), out


def test_priorities_and_resources_pass_through_and_the_order_of_equals_is_kept(run):
    out = run(
        """
@python_app
def note(n, parsl_resource_specification={}):
    with open(os.path.join(HERE, "order"), "a") as file: file.write(f"{n}\\n")
@python_app
def other(n):
    with open(os.path.join(HERE, "order"), "a") as file: file.write(f"{n}\\n")
@python_app
def block(name):
    wait_for(name)
for app in (note, other): short(app, 0)
os.remove(os.path.join(HERE, "order"))
blocked = block("go")
time.sleep(0.3)
before = engine.batches
futures = [(note, other)[n // 20 % 2](n) for n in range(200)]
futures += [note(1000 + n, parsl_resource_specification={"priority": n}) for n in (5, 3)]
open(os.path.join(HERE, "go"), "w").close()
[f.result() for f in futures]
print(engine.batches > before)
order = [int(line) for line in open(os.path.join(HERE, "order"))]
print([n for n in order if n < 1000] == list(range(200)), sorted(n for n in order if n >= 1000))
""",
        max_workers_per_node=1,
    )
    assert out == ["True", "True [1003, 1005]"]


@pytest.mark.parametrize(
    "kill",
    [
        "os.kill(manager, signal.SIGKILL)",
        "os.kill(guard, signal.SIGTERM)",
        pytest.param("os.kill(manager, signal.SIGTERM)", marks=pytest.mark.slow),
    ],
)
def test_a_manager_that_ends_takes_only_the_calls_that_ran(run, kill):
    """What had not begun is done by the block that takes its place, long before a heartbeat is missed."""
    out = run(f"""
@python_app
def work(n):
    with open(os.path.join(HERE, "ran"), "a") as file: file.write(f"{{n}}\\n")
    if n == 500:
        manager = psutil.Process().parent().parent().pid
        guard = psutil.Process(manager).ppid()
        {kill}
        time.sleep(60)
    return n
import psutil
short(work, -1)
before, ran = engine.batches, count("ran")
futures = [work(n) for n in range(1000)]
lost, handed_over = [], 0
for n, future in enumerate(futures):
    try:
        assert future.result(60) == n
    except WorkerLost as error:
        lost.append((n, str(error)))
    except ManagerLost:  # a batch whose results the manager was just handing over
        handed_over += 1
print(engine.batches > before, len(lost), 500 in dict(lost))
ran = count("ran") - ran
print("all" if 1000 - len(lost) < ran <= 1000 else ran)
print(dict(lost)[500])
""")
    # Another worker may have been in the midst of a call too, or about to do what it was called for.
    assert out[0] in ("True 1 True", "True 2 True")
    assert out[1] == "all"
    assert out[2].startswith("work was lost: worker ")
    assert "its manager" in out[2]


def test_a_task_that_is_no_batch_goes_to_another_manager_when_it_had_not_begun(run):
    out = run(
        """
import psutil
@python_app
def block(name, parsl_resource_specification={}):
    open(os.path.join(HERE, f"at-{name}"), "w").write(str(psutil.Process().parent().parent().pid))
    wait_for(name)
    return name
first = block("go", parsl_resource_specification={"priority": 1})
wait_for("at-go")
time.sleep(0.2)
waiting = [block(f"go{n}", parsl_resource_specification={"priority": 2}) for n in range(3)]
for n in range(3): open(os.path.join(HERE, f"go{n}"), "w").close()
time.sleep(0.5)
os.kill(int(open(os.path.join(HERE, "at-go")).read()), signal.SIGKILL)
print([f.result(60) for f in waiting], type(first.exception(60)).__name__)
""",
        max_workers_per_node=1,
        prefetch_capacity=2,
    )
    assert out == ["['go0', 'go1', 'go2'] ManagerLost"]


def test_what_a_call_of_a_batch_prints_is_found_under_its_task(project, pilotage):
    (project / "script.py").write_text("""
import parsl, sys
@parsl.python_app
def say(n):
    print("said by", n, flush=n % 2)
    return n
with parsl.load() as kernel:
    engine = next(iter(kernel.executors.values()))._coalescer
    for n in range(5): say(n).result()
    [f.result() for f in [say(n) for n in range(5, 300)]]
    print(engine.batches > 0)
""")
    done = pilotage("run", "script.py")
    assert done.stdout.splitlines() == ["True"], done.stderr
    for task in (0, 150, 299):
        assert pilotage.ask("logs", "@last", "--task", str(task)).stdout == f"said by {task}\n"


def test_the_fork_server_of_a_node_may_die(run):
    """Its manager could replace no worker: so the manager ends, and a new block does what is left."""
    run("""
import psutil
@python_app
def server(): return os.getppid()
@python_app
def work(n): return n
os.kill(server().result(), signal.SIGKILL)
assert [f.result(60) for f in [work(n) for n in range(50)]] == list(range(50))
""")


def test_calls_behind_a_worker_that_does_not_begin_go_to_others(run):
    run("""
import psutil
@python_app
def where(): time.sleep(0.2); return os.getpid()
@python_app
def work(n): return n
workers = set()
while len(workers) < 2: workers |= {f.result() for f in [where(), where()]}
stopped = workers.pop()
short(work, 1)
os.kill(stopped, signal.SIGSTOP)
try:
    assert sorted(f.result(60) for f in [work(n) for n in range(60)]) == list(range(60))
finally:
    os.kill(stopped, signal.SIGKILL)
""")


@pytest.mark.slow
def test_workers_that_cannot_start_fail_their_block_and_the_calls(run):
    out = run(
        """
@python_app
def work(n): return n
print(type(work(1).exception(80)).__name__)
""",
        cpu_affinity="list:x:y",
        executor={"block_error_handler": True},
    )
    assert out == ["BadStateException"]


def test_programs_that_a_task_starts_do_not_hold_the_workers_connection(run):
    out = run("""
@python_app
def sockets():
    import subprocess
    words = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False).stdout
    return words.count("socket:")
print(sockets().result())
""")
    assert out == ["0"]
