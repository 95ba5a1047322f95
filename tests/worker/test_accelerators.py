"""What a scheduler gives to a job is shared out among the workers of a node."""

import pytest

from pilotage.worker.accelerators import NoAcceleratorsError, given, numbers, shares, usable_affinity

FOUR = ["0", "1", "2", "3"]
CUDA = "CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("2,3", ["2", "3"]),
        (" 2 , 3 ", ["2", "3"]),
        ("GPU-8932f937-d72c,GPU-1ab2", ["GPU-8932f937-d72c", "GPU-1ab2"]),
        ("MIG-GPU-8932/1/0,MIG-7d1a", ["MIG-GPU-8932/1/0", "MIG-7d1a"]),
        ("", []),
        ("NoDevFiles", []),
        ("-1", []),
        ("1,-1,2", ["1"]),
    ],
)
def test_the_ids_in_a_variable(value, ids):
    assert given({CUDA: value}) == {CUDA: ids}


def test_all_of_them_is_no_list():
    assert given({CUDA: "all"}) == given({}) == {}


@pytest.mark.parametrize("name", [CUDA, "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"])
def test_places_are_those_of_the_schedulers_list(name):
    found = shares(["0", "1"], 1, "none", {name: "2,3", "PATH": "x"})
    assert found.entries == ["2", "3"]
    assert found.variables == [{name: "2"}, {name: "3"}]
    assert found.words is None


def test_each_variable_has_ids_of_its_own():
    found = shares(["0", "1"], 1, "none", {CUDA: "GPU-a,GPU-b", "ZE_AFFINITY_MASK": "0.1,1.0"})
    assert found.variables == [
        {CUDA: "GPU-a", "ZE_AFFINITY_MASK": "0.1"},
        {CUDA: "GPU-b", "ZE_AFFINITY_MASK": "1.0"},
    ]


def test_without_a_word_of_the_scheduler_it_is_left_to_parsl():
    assert shares(FOUR, 1, "none", {}) is None
    assert shares([], 1, "none", {CUDA: "0"}) is None


def test_more_than_configured_are_left_alone():
    found = shares(["0", "1"], 1, "none", {CUDA: "4,5,6,7"})
    assert (found.entries, found.words) == (["4", "5"], None)


def test_fewer_than_configured_is_told():
    found = shares(FOUR, 1, "none", {CUDA: "2,3"})
    assert found.entries == ["2", "3"]
    assert found.words == (
        "4 accelerators are configured, and the scheduler gave 2 to the job here (CUDA_VISIBLE_DEVICES=2,3): "
        "2 workers start instead of 4"
    )


@pytest.mark.parametrize("value", ["", "NoDevFiles"])
def test_none_at_all_is_an_error(value):
    with pytest.raises(NoAcceleratorsError, match="gave 0 to the job"):
        shares(FOUR, 1, "none", {CUDA: value})


def test_several_for_each_worker():
    found = shares(["0,1", "2,3"], 1, "none", {CUDA: "4,5,6,7"})
    assert found.entries == ["4,5", "6,7"]
    found = shares(["0,1", "2,3"], 1, "none", {CUDA: "4,5,6"})
    assert found.entries == ["4,5"]
    assert "1 worker starts instead of 2" in found.words
    with pytest.raises(NoAcceleratorsError, match="too few for a worker"):
        shares(["0,1"], 1, "none", {CUDA: "4"})


def test_several_workers_on_each():
    found = shares(FOUR, 2, "none", {CUDA: "6,7"})
    assert found.entries == ["6", "6", "7", "7"]
    assert found.words is None
    assert shares(FOUR, 2, "none", {CUDA: "6"}).entries == ["6", "6"]


class TestCores:
    LISTS = "list:24-31:16-23:8-15:0-7"

    def test_those_of_the_ids_where_they_are_numbers(self):
        assert shares(FOUR, 1, self.LISTS, {CUDA: "2,3"}).affinity == "list:8-15:0-7"
        assert shares(FOUR, 1, self.LISTS, {CUDA: "3,2,1,0"}).affinity == "list:0-7:8-15:16-23:24-31"

    def test_the_first_ones_where_they_are_not(self):
        assert shares(FOUR, 1, self.LISTS, {CUDA: "GPU-a,GPU-b"}).affinity == "list:24-31:16-23"
        assert shares(FOUR, 1, self.LISTS, {CUDA: "8,9"}).affinity == "list:24-31:16-23"

    def test_of_groups_and_of_shares(self):
        assert shares(["0,1", "2,3"], 1, "list:0-3:4-7", {CUDA: "2,3"}).affinity == "list:4-7"
        assert shares(FOUR, 2, "list:0:1:2:3", {CUDA: "1"}).affinity == "list:2:3"

    def test_what_is_no_list_stays(self):
        assert shares(FOUR, 1, "block", {CUDA: "2,3"}).affinity == "block"

    def test_cores_that_the_job_does_not_have(self):
        assert usable_affinity("list:0-1:2-3", {0, 2, 3}) == ("list:0-1:2-3", None)
        affinity, words = usable_affinity("list:0-1:24-31,56-63", {0, 1})
        assert affinity == "none"
        assert "none of the cores 24-31,56-63 (it has 2)" in words
        assert usable_affinity("block", set()) == ("block", None)
        assert usable_affinity("list:x", {0}) == ("list:x", None), "Parsl says what is wrong with it"

    @pytest.mark.parametrize(("text", "cores"), [("0-2,8", [0, 1, 2, 8]), ("7", [7]), ("x", []), ("", []), ("1-x", [])])
    def test_numbers(self, text, cores):
        assert numbers(text) == cores
