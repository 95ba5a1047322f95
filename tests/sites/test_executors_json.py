"""The older form of sites: every key becomes a value or a note, and what is wrong is told with its place."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import SiteError, SiteFileError, SiteValueError
from pilotage.sites.executors_json import KEYS, read

TWO_POOLS = (Path(__file__).parent / "executors.json").read_text()


def one(**keys):
    return read(json.dumps({"gpu": {"POOL": "p", **keys}}), "executors.json")[0]


def reasons(pool):
    return {note.key: note.reason for note in pool.notes}


def test_two_pools():
    first, second = read(TWO_POOLS, "executors.json")
    assert first.values == {
        "scheduler": "ssh",
        "description": "pool gcpcluster",
        "hosts": ["ada@198.51.100.7"],
        "worker_init": "source /contrib/ada/miniconda3/etc/profile.d/conda.sh\nconda activate parsl_py39\n",
        "python": "python",
        "cores_per_worker": 4.0,
        "run_folder": "/contrib/ada/tmp",
    }
    assert first.became["HOST_USER"] == "hosts"
    assert first.became["CONDA_ENV"] == "worker_init, python"
    assert reasons(first)["WORKER_PORT_1"] == "not needed: ports are reserved when a run starts"
    assert [note.key for note in first.notes if note.urgent] == [
        "INSTALL_CONDA",
        "LOCAL_CONDA_YAML",
        "SINGULARITY_CONTAINER_PATH",
    ]
    assert first.remark is None
    assert second.values["hosts"] == ["azurecluster"]
    assert second.became["POOL"] == "description, hosts"
    assert "azurecluster has to be a name that ssh knows" in second.remark
    assert second.values["worker_init"].startswith("source \"$HOME\"'/my conda'/etc/profile.d/conda.sh\n")
    assert "run_folder" not in second.values
    assert "a run has a folder of its own" in reasons(second)["RUN_DIR"]
    assert "is brought here when the run ends" in reasons(second)["WORKER_LOGDIR_ROOT"]
    assert reasons(second)["INSTALL_CONDA"] == "nothing was to be made"


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ({"CONDA_DIR": "/c"}, ["source /c/etc/profile.d/conda.sh", "conda activate"]),
        ({"CONDA_DIR": "~"}, ['source "$HOME"/etc/profile.d/conda.sh', "conda activate"]),
        ({"CONDA_ENV": "a b"}, ['source "$(conda info --base)"/etc/profile.d/conda.sh', "conda activate 'a b'"]),
        ({"CONDA_ENV": "$x"}, ['source "$(conda info --base)"/etc/profile.d/conda.sh', "conda activate '$x'"]),
    ],
)
def test_the_environment_is_activated(keys, lines):
    pool = one(**keys)
    assert pool.values["worker_init"].splitlines() == lines
    assert pool.values["python"] == "python"


@pytest.mark.parametrize(
    ("folder", "taken"), [("/a b", True), ("~", True), ("~/a", True), ("a/b", False), ("~a", False)]
)
def test_the_run_s_folder_is_an_absolute_one(folder, taken):
    pool = one(RUN_DIR=folder)
    assert pool.values.get("run_folder") == (folder if taken else None)
    assert [note.urgent for note in pool.notes] == ([] if taken else [True])


def test_without_an_environment_nothing_is_activated():
    assert not {"worker_init", "python"} & set(one().values)


@pytest.mark.parametrize(
    ("keys", "hosts"),
    [
        ({}, ["p"]),
        ({"HOST_USER": "ada"}, ["ada@p"]),
        ({"HOST_IP": "", "HOST_USER": None}, ["p"]),
        ({"HOST_IP": "2001:db8::1"}, ["2001:db8::1"]),
        ({"POOL": "", "HOST_IP": "h.example.org", "HOST_USER": "a.b"}, ["a.b@h.example.org"]),
    ],
)
def test_hosts(keys, hosts):
    assert one(**keys).values["hosts"] == hosts


@pytest.mark.parametrize(("value", "cores"), [(4, 4.0), ("4", 4.0), (0.5, 0.5), (" 0.5 ", 0.5)])
def test_numbers_may_be_in_quotes(value, cores):
    assert one(CORES_PER_WORKER=value).values["cores_per_worker"] == cores


@pytest.mark.parametrize(
    ("value", "urgent"), [(True, True), ("true", True), ("True", True), (False, False), ("", False)]
)
def test_flags_may_be_in_quotes(value, urgent):
    notes = one(INSTALL_CONDA=value, LOCAL_CONDA_YAML="a.yaml").notes
    assert {note.key: note.urgent for note in notes} == {"INSTALL_CONDA": urgent, "LOCAL_CONDA_YAML": urgent}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"POOL": None}, "gpu.POOL: no host: neither HOST_IP nor POOL is given"),
        ({"HOST_IP": "-oProxyCommand=x"}, "gpu.HOST_IP: '-oProxyCommand=x' is no address of a host"),
        ({"HOST_IP": "ada@1.2.3.4"}, "gpu.HOST_IP"),
        ({"HOST_USER": "a b"}, "gpu.HOST_USER: 'a b' is no name of a user"),
        ({"CORES_PER_WORKER": "four"}, 'gpu.CORES_PER_WORKER: expected a number above 0, not "four"'),
        ({"CORES_PER_WORKER": 0}, "expected a number above 0, not 0"),
        ({"CORES_PER_WORKER": True}, "expected a number above 0, not true"),
        ({"CORES_PER_WORKER": 10**400}, "expected a number above 0"),
        ({"WORKER_PORT_1": 70000}, "gpu.WORKER_PORT_1: expected a port"),
        ({"WORKER_PORT_2": 1.5}, "gpu.WORKER_PORT_2: expected a port"),
        ({"INSTALL_CONDA": "maybe"}, "gpu.INSTALL_CONDA: expected true or false"),
        ({"INSTALL_CONDA": 1}, "gpu.INSTALL_CONDA: expected true or false"),
        ({"CONDA_ENV": 39}, "gpu.CONDA_ENV: expected a text in one line, not 39"),
        ({"CONDA_DIR": "a\nrm -rf x"}, "gpu.CONDA_DIR: expected a text in one line"),
        ({"RUN_DIR": ["/a"]}, "gpu.RUN_DIR: expected a text"),
    ],
)
def test_wrong_values(keys, words):
    with pytest.raises(SiteValueError) as caught:
        one(**keys)
    assert words in str(caught.value)
    assert str(caught.value).startswith("executors.json: gpu.")


@pytest.mark.parametrize("label", ["", "a b", "all", "-x", "a.py", "_x"])
def test_labels_that_cannot_be_names(label):
    with pytest.raises(SiteValueError, match="cannot be a site's name"):
        read(json.dumps({label: {"POOL": "p"}}), "executors.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": {"POOL": "p"},}\n', "executors.json:1: not JSON"),
        ('{"a": {\n"POOL": p}}\n', "executors.json:2: not JSON"),
        ("", "executors.json:1: not JSON"),
        ("[]", "not an object of pools"),
        ('{"a": []}', "not an object of pools"),
        ("{}", "there is no pool in it"),
        ('{"a": {"POOL": "p"}, "a": {"POOL": "q"}}', "'a' is there twice"),
        ('{"a": {"POOL": "p", "POOL": "q"}}', "'POOL' is there twice"),
        ('{"a": {"POOL": ' + "9" * 5000 + "}}", "cannot be read"),
        ("[" * 100000, "cannot be read"),
    ],
)
def test_what_is_no_such_file(text, words):
    with pytest.raises(SiteFileError) as caught:
        read(text, "executors.json")
    assert words in str(caught.value)


def test_unknown_keys_are_all_named():
    text = json.dumps({"a": {"POOL": "p", "RUNDIR": 1}, "b": {"POOL": "p", "NODES": 2, "host_ip": "1.2.3.4"}})
    with pytest.raises(SiteValueError) as caught:
        read(text, "executors.json")
    assert "not known: a.RUNDIR, b.NODES, b.host_ip" in str(caught.value)
    assert "RUNDIR: did you mean 'RUN_DIR'?" in caught.value.hint
    assert "host_ip: did you mean 'HOST_IP'?" in caught.value.hint
    assert "--keep-going" in caught.value.hint
    _, second = read(text, "executors.json", keep_going=True)
    assert [(note.key, note.value, note.urgent) for note in second.notes] == [
        ("NODES", 2, True),
        ("host_ip", "1.2.3.4", True),
    ]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["true", "false", "", "4", "/a/b", "~/c", "10.0.0.1", "ada", "/tmp/__job_number__"]),
    st.lists(st.integers()),
)


@given(pool=st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text()), VALUES))
def test_no_key_is_lost(pool):
    """It is refused in our words, or each key is in a value or in a note, and never in both."""
    found = None
    try:
        found = read(json.dumps({"x": pool}), "executors.json", keep_going=True)[0]
    except SiteError as error:
        refusal = str(error)
    if found is None:
        assert refusal.startswith("executors.json: x.")
        return
    noted = [note.key for note in found.notes]
    assert sorted([*noted, *found.became]) == sorted(pool)
    assert {part for names in found.became.values() for part in names.split(", ")} <= set(found.values)


USABLE = {
    "POOL": st.just("p"),
    "HOST_IP": st.sampled_from(["10.0.0.1", "", None]),
    "HOST_USER": st.sampled_from(["ada", ""]),
    "CORES_PER_WORKER": st.floats(0.01, 100)
    .map(lambda cores: round(cores, 3))
    .flatmap(lambda cores: st.sampled_from([cores, str(cores)])),
    "INSTALL_CONDA": st.sampled_from(["true", "false", True, False]),
    "CREATE_SINGULARITY_CONTAINER": st.sampled_from(["true", "false", True, False]),
    "WORKER_PORT_1": st.integers(1, 65535),
    "WORKER_PORT_2": st.integers(1, 65535).map(str),
}
PATHS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


@given(
    st.fixed_dictionaries(
        {"POOL": st.just("p")}, optional={key: USABLE.get(key, PATHS) for key in KEYS if key != "POOL"}
    )
)
def test_what_can_be_used_is(pool):
    """The control of the test above: refusing everything would pass it."""
    found = read(json.dumps({"x": pool}), "executors.json")[0]
    assert sorted([*(note.key for note in found.notes), *found.became]) == sorted(pool)
    assert ("cores_per_worker" in found.values) == ("CORES_PER_WORKER" in pool)
    assert ("worker_init" in found.values) == bool({"CONDA_DIR", "CONDA_ENV"} & set(pool))
