"""The reader of meta.yaml against PyYAML, which writes these files."""

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pilotage.perf import flat_yaml

WORDS = st.sampled_from(["word", "it's", '"so"', ":", "- a", "#", "é", "\t", "\n", "\\", "''", "\u2028", "\x07", "  "])
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(WORDS, max_size=60).map(" ".join),
    st.sampled_from(["", "null", "yes", "1.5", "007", "1e5", "0x1", "12:30", "2001-01-01", "~", "=", "-", "?x", "|"]),
)
VALUES = st.one_of(TEXTS, st.integers(-(10**15), 10**15), st.booleans(), st.none(), st.floats(allow_nan=False))


@given(VALUES, VALUES)
@example(None, "\xa0")
@example("\u3000", "a\xa0")
@settings(max_examples=300, deadline=None)
def test_what_pyyaml_writes_is_read_as_pyyaml_reads_it(first, second):
    text = yaml.safe_dump({"a": first, "tags": [], "b": second}, default_flow_style=False, allow_unicode=True)
    assert flat_yaml.read(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: c}",
        "a: [1, 2]",
        "a: &x 1",
        "a: !!python/object:os.system x",
        "a: |\n  block",
        "a: b: c",
        "no key",
        "a: 'open",
        'a: "open',
        'a: "\\q"',
        "- a",
    ],
)
def test_what_such_a_file_never_holds_is_refused(text):
    with pytest.raises(ValueError, match="line 1"):
        flat_yaml.read(text)
