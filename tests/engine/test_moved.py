"""What a task has moved is known to the driver when its outcome is."""

import pytest

MOVES = """
moved = []

@python_app
def move(number, words=""):
    import os
    from concurrent.futures import ThreadPoolExecutor
    from pilotage.worker.data.accounts import moved
    with ThreadPoolExecutor(4) as pool:  # threads of one task, at once
        list(pool.map(lambda part: moved({"task": number, "part": part, "words": words}), range(25)))
    if os.fork() == 0:
        moved({"task": number, "part": "of a child"})
        os._exit(0)
    os.wait()
    return number
"""


@pytest.mark.parametrize("coalesce", [True, False])
def test_each_record_arrives_once_and_before_the_result(run, coalesce):
    run(
        MOVES + f"ours = executor(max_workers_per_node=2, coalesce={coalesce})\n"
        "ours.on_moved = moved.append\n"
        "with load(ours):\n"
        "    for number in range(20):\n"
        "        words = 'e' * (number % 2 * 100_000)\n"  # longer than what goes in one piece
        "        assert move(number, words).result() == number\n"
        "        mine = [one for one in moved if one['task'] == number]\n"
        "        assert sorted(one['part'] for one in mine) == list(range(25)), mine\n"
        "        assert all(one['words'] == words for one in mine)\n"
    )


def test_nobody_asks(run):
    run(MOVES + "with load():\n    assert move(1).result() == 1\n")


def test_in_threads_the_listener_hears_it_itself(run):
    run(
        MOVES.replace("    if os.fork() == 0:\n", "    if False:\n").replace("    os.wait()\n", "")
        + "from pilotage.worker.data.accounts import listen\n"
        "end = listen(moved.append)\n"
        "with load(ThreadPoolExecutor()):\n"
        "    move(1).result()\n"
        "    assert sorted(one['part'] for one in moved) == list(range(25))\n"
        "    end()\n"
        "    move(2).result()\n"
        "    assert len(moved) == 25\n"
    )
