"""What a site asks of Parsl, beyond what it says in so many words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.sites.catalogue import Catalogue, Layer
from pilotage.sites.plan import Machine, drain_period, plan, provider_settings


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("00:30:00", 1620),
        ("01:00:00", 3300),
        ("24:00:00", 86100),
        ("00:02:00", 90),
        ("00:01:30", 60),
        ("00:01:00", None),
    ],
)
def test_a_block_takes_no_tasks_near_its_end(walltime, seconds):
    assert drain_period(walltime) == seconds


@given(st.integers(0, 999), st.integers(0, 59), st.integers(0, 59))
def test_there_is_time_before_and_after(hours, minutes, rest):
    total = hours * 3600 + minutes * 60 + rest
    found = drain_period(f"{hours:02}:{minutes:02}:{rest:02}")
    assert found is None or (found >= 60 and 30 <= total - found <= 300)


def test_a_reservation_is_a_line_for_parsls_provider_and_a_setting_for_our_script():
    text = '[site.x]\nextends = "slurm"\nreservation = "a\\"b"\nscheduler_options = "#SBATCH --mail-type=END\\n"\n'
    resolved = Catalogue([*Catalogue.load().layers, Layer.parse("t", text)]).resolve("x")
    provider = plan(resolved, "x", Machine("python", 2, "127.0.0.1")).provider
    lines = ["#SBATCH --mail-type=END", '#SBATCH --reservation="a\\"b"']
    assert provider.arguments["scheduler_options"].splitlines() == lines
    assert "reservation" not in provider.arguments
    settings = provider_settings(resolved.site)
    assert (settings["reservation"], settings["scheduler_options"].splitlines()) == ('a"b', lines[:1])
