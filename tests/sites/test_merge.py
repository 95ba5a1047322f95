"""Properties of merging with origins."""

from hypothesis import given
from hypothesis import strategies as st

from pilotage.sites.merge import Origin, Table, walk

KEYS = st.sampled_from("abcd")
TREES = st.recursive(
    st.dictionaries(KEYS, st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(KEYS, inner | st.integers(0, 3)),
    max_leaves=8,
)


def table(data, source):
    return Table.of(data, lambda path: Origin(source))


def leaves(data, prefix=()):
    for key, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


@given(TREES, TREES)
def test_what_is_written_above_wins_and_the_rest_stays(low, high):
    merged = table(low, "low").under(table(high, "high"))
    for path, value in leaves(high):
        assert dict(leaves(merged.data))[path] == value
        assert merged.origins[path] == Origin("high")
    covered = {path[:n] for path, _ in leaves(high) for n in range(1, len(path) + 1)} | set(walk(high))
    for path, value in leaves(low):
        if not any(path[:n] in {p for p, _ in leaves(high)} for n in range(1, len(path) + 1)) and path not in covered:
            assert dict(leaves(merged.data))[path] == value
            assert merged.origins[path] == Origin("low")


# Where no key is a table in one file and a value in another, as in sites that are valid.
CONSISTENT = st.recursive(
    st.dictionaries(st.sampled_from("cd"), st.integers(0, 3)),
    lambda inner: st.builds(
        lambda tables, values: {**tables, **values},
        st.dictionaries(st.sampled_from("ab"), inner),
        st.dictionaries(st.sampled_from("cd"), st.integers(0, 3)),
    ),
    max_leaves=8,
)


@given(CONSISTENT, CONSISTENT, CONSISTENT)
def test_merging_is_associative(a, b, c):
    x, y, z = table(a, "a"), table(b, "b"), table(c, "c")
    assert x.under(y).under(z).data == x.under(y.under(z)).data


@given(TREES)
def test_merging_nothing_changes_nothing(a):
    x = table(a, "a")
    assert x.under(Table()).data == a == Table().under(x).data


@given(TREES, TREES)
def test_inputs_are_left_alone_and_every_value_has_an_origin(a, b):
    x, y = table(a, "a"), table(b, "b")
    before = repr((x, y))
    merged = x.under(y)
    assert repr((x, y)) == before
    assert {path for path, _ in leaves(merged.data)} <= set(merged.origins)
    assert set(merged.origins) <= set(walk(merged.data))
