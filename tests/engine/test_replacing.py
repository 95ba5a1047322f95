"""Blocks that come to nothing are not replaced without end."""

from parsl.jobs.states import JobState, JobStatus

from pilotage.engine import replacing


def states(*names):
    return {str(number): JobStatus(JobState[name]) for number, name in enumerate(names)}


def test_how_many_of_the_newest_were_in_vain():
    assert replacing.in_vain_in_a_row({}) == 0
    assert replacing.in_vain_in_a_row(states("RUNNING", *["FAILED"] * 11)) == 11
    assert replacing.in_vain_in_a_row(states("FAILED", "COMPLETED", "MISSING", "TIMEOUT")) == 4
    assert replacing.in_vain_in_a_row(states("FAILED", "PENDING", "FAILED", "FAILED", "PENDING", "RUNNING")) == 3
    assert replacing.in_vain_in_a_row(states("FAILED", "RUNNING", "FAILED", "PENDING"), {"1"}) == 1
    assert replacing.in_vain_in_a_row(states("FAILED", "FAILED", "SCALED_IN")) == 0
    assert replacing.in_vain_in_a_row(states(*["FAILED"] * 4), {"1"}) == 2


def test_pauses_grow():
    assert [replacing.pause(count) for count in (0, 2, 3, 4, 5)] == [0, 0, 30, 60, 120]
    assert replacing.pause(8) == replacing.pause(99_999) == replacing.LONGEST_PAUSE


BAD = """
class Bad(LocalProvider):
    begun = 0
    status_polling_interval = 0.1
    def submit(self, *given):
        Bad.begun += 1
        if Bad.begun > 1:
            BAD
        return super().submit(*given)
@python_app
def wait(seconds):
    import time
    time.sleep(seconds)
ours = executor(provider=Bad(init_blocks=1, max_blocks=3, parallelism=1))
with load(ours, strategy="htex_auto_scale"):
    [future.result() for future in [wait(1) for _ in range(5)]]
    print(Bad.begun)
"""


def test_a_refusal_without_end(run):
    """Parsl's strategy asks ten times a second here."""
    begun = int(run(BAD.replace("BAD", "raise RuntimeError('your account has run out')")))
    assert 3 <= begun <= 8


def test_blocks_that_end_one_after_the_other(run):
    """There is always one that has not ended yet."""
    begun = int(run(BAD.replace("BAD", "self.worker_init = f'sleep 0.{3 + 4 * (Bad.begun % 2)}; exit 1'")))
    assert 3 <= begun <= 9


def test_blocks_that_end_at_once_and_say_that_all_is_well(run):
    begun = int(run(BAD.replace("BAD", "self.worker_init = 'exit 0'")))
    assert 3 <= begun <= 8
