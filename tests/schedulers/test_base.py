"""What schedulers share: wall times, and that nothing is imported before it is needed."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import SiteValueError, UsageError
from pilotage.schedulers import NAMES, scheduler
from pilotage.schedulers.base import clock, seconds


@given(total=st.integers(0, 10**9))
def test_a_wall_time_comes_back(total):
    assert seconds(clock(total)) == total


@pytest.mark.parametrize(("text", "total"), [("00:00:01", 1), ("1:02:03", 3723), ("100:00:00", 360000)])
def test_wall_times(text, total):
    assert seconds(text) == total


@pytest.mark.parametrize(
    "text", ["", "30", "01:00", "1-00:00:00", "00:60:00", "-1:00:00", "01:00:00 ", "1:00:00\n", "\u0661:00:00"]
)
def test_no_wall_times(text):
    with pytest.raises(SiteValueError, match="HH:MM:SS"):
        seconds(text)


@pytest.mark.parametrize("name", NAMES)
def test_schedulers_by_name(name):
    assert scheduler(name).name == name
    assert scheduler(name) is scheduler(name)


@pytest.mark.parametrize(("name", "hint"), [("slrum", "did you mean 'slurm'?"), ("lsf", "known: "), ("", "known: ")])
def test_an_unknown_name(name, hint):
    with pytest.raises(UsageError, match=f"unknown scheduler '{name}'") as caught:
        scheduler(name)
    assert caught.value.hint.startswith(hint)


def test_templates_are_read_only_to_render():
    program = "import sys; from pilotage.schedulers import NAMES, scheduler; [scheduler(name) for name in NAMES]"
    tail = "; print(sorted({name.split('.')[0] for name in sys.modules} & {'jinja2', 'parsl', 'kubernetes'}))"
    done = subprocess.run([sys.executable, "-Ic", program + tail], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
