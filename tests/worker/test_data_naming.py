"""Names of a task's files: none is another's, and none is within another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.worker.data.naming import Names

NAMES = st.lists(st.sampled_from(["0", "1", "2", "3", "a", "a.txt", "in", ".", ""]), max_size=12)
PATHS = st.lists(st.sampled_from(["a", "2", "in/a", "in/b", "3/x", "deep/er/still"]), unique=True, max_size=4)


@given(PATHS, NAMES)
def test_no_name_is_at_or_within_another(asked, found):
    names = Names()
    for path in asked:
        try:
            names.ask(path)
        except ValueError:
            asked = [other for other in asked if other != path]
    paths = [*asked, *(names.find(name) for name in found)]
    assert len(set(paths)) == len(paths)
    assert not [(one, other) for one in paths for other in paths if other.startswith(f"{one}/")]


@given(NAMES)
def test_the_last_part_stays(found):
    names = Names()
    for name in found:
        assert names.find(name).rpartition("/")[2] == (name if name.strip(".") else "data")


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("in", "in/a"), ("in/a", "in")])
def test_two_that_cannot_both_be(first, second):
    names = Names()
    names.ask(first)
    with pytest.raises(ValueError, match=first):
        names.ask(second)


def test_those_in_one_folder_can_be():
    names = Names()
    names.ask("in/a")
    names.ask("in/b")
    assert names.find("in") == "2/in"
    assert names.find("2") == "3/2"
