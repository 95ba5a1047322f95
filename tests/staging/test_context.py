"""What a site says of its data comes to its workers as it was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.worker.data.context import Context, parsed

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029"), min_size=1),
    st.sampled_from(["yes", "no", "2024", "1e5", "inf", '"quoted"', "a=b", "a.b", "007", "nan"]),
)
VALUES = st.one_of(TEXTS, st.booleans(), st.integers(0, 10**12), st.floats(0, 1e9, allow_nan=False))


@given(
    st.builds(
        Context,
        shared=st.booleans(),
        cache=st.none() | st.just("/scratch/a b"),
        cache_size=st.integers(0, 10**15),
        keep=st.none() | st.just("/kept=here"),
        options=st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, min_size=1)),
    )
)
def test_it_comes_as_it_was_said(context):
    found = parsed(context.lines())
    assert found == context
    for scheme, options in context.options.items():
        assert {name: type(value) for name, value in options.items()} == {
            name: type(value) for name, value in found.options[scheme].items()
        }
    assert parsed("\n".join(context.lines()).splitlines()) == context, "one line for each"


def test_what_is_not_said_is_not_told():
    assert Context().lines() == []


@pytest.mark.parametrize("line", ["shared", "unknown=1"])
def test_a_line_that_says_nothing_is_refused(line):
    with pytest.raises(ValueError, match=line.partition("=")[0]):
        parsed([line])


def test_folders_are_those_of_the_node(monkeypatch):
    monkeypatch.setenv("LOCAL", "/local/7")
    monkeypatch.setenv("HOME", "/home/there")
    found = parsed(["cache=$LOCAL/cache", "keep=~/kept"])
    assert (found.cache, found.keep) == ("/local/7/cache", "/home/there/kept")
