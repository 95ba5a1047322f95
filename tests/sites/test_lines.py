"""Line numbers of TOML keys, against texts whose lines are known."""

import tomllib

import tomlkit
from hypothesis import example, given
from hypothesis import strategies as st

from pilotage.sites.lines import key_lines

TEXT = '''# a comment

top = 1
[site.lab]   # header
scheduler = "slurm"
worker_init = """
module load x
[site.fake]
key = 1
"""
hosts = [
  "a",
  "b",
]
engine.serializer = "parsl"
launcher = { class = "SrunLauncher", debug = true }
[site."odd name".provider]
"quoted key" = 2
[[many]]
a = 1
[[many]]
a = 2
'''


def test_every_form_of_key_has_its_line():
    assert key_lines(TEXT) == {
        ("top",): 3,
        ("site",): 4,
        ("site", "lab"): 4,
        ("site", "lab", "scheduler"): 5,
        ("site", "lab", "worker_init"): 6,
        ("site", "lab", "hosts"): 11,
        ("site", "lab", "engine"): 15,
        ("site", "lab", "engine", "serializer"): 15,
        ("site", "lab", "launcher"): 16,
        ("site", "lab", "launcher", "class"): 16,
        ("site", "lab", "launcher", "debug"): 16,
        ("site", "odd name"): 17,
        ("site", "odd name", "provider"): 17,
        ("site", "odd name", "provider", "quoted key"): 18,
        ("many",): 19,
        ("many", "a"): 20,
    }


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
SCALARS = st.one_of(
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=["Cs", "Cc"]) | st.just("\n")),
    st.lists(st.integers(0, 9)),
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS, max_size=4), max_size=4))
@example({"00": {"0": []}, "0": {}})
def test_the_key_is_on_the_line_that_is_told(tables):
    text = tomlkit.dumps(tables)
    assert tomllib.loads(text) == tables
    lines = text.splitlines()
    found = key_lines(text)
    headers = sorted(found[(table,)] for table in tables)
    for table, values in tables.items():
        assert lines[found[(table,)] - 1].startswith("[")
        end = next((line - 1 for line in headers if line > found[(table,)]), len(lines))
        for key in values:
            # The text from that line to the next table defines the key first.
            assert found[(table, key)] > found[(table,)]
            rest = "\n".join(lines[found[(table, key)] - 1 : end]) + "\n"
            assert next(iter(tomllib.loads(rest))) == key
