"""With whom a run connects before it begins, and who is asked."""

import pytest

from pilotage.assembly import login
from pilotage.assembly.configs import targets
from pilotage.errors import HostError, LoginError


class Hosts:
    """Hosts that are away, want a person, or let everybody in; what was asked of them is noted."""

    def __init__(self, **kinds):
        self.kinds = kinds
        self.asked = []

    def __call__(self, name):
        class Host:
            @staticmethod
            def is_connected():
                return False

            @staticmethod
            def connect(*, ask=False):
                self.asked.append((name, ask))
                if self.kinds[name] == "away":
                    raise HostError(f"{name} is away")
                if self.kinds[name] == "locked" or (self.kinds[name] == "person" and not ask):
                    raise LoginError(f"{name} wants a person")

        return Host


@pytest.fixture
def connect(project, user_file, monkeypatch):
    """Connect with a site's hosts; return what was asked of them."""

    def run(ask, text, **kinds):
        user_file(f"[site.mine]\n{text}\n")
        hosts = Hosts(**kinds)
        monkeypatch.setattr(login.openssh, "host", hosts)
        login.connect({"mine": targets("mine")[0].resolved.site}, ask=ask)
        return hosts.asked

    return run


LAB = 'extends = "slurm"\nlogin = "a"'
POOL = 'scheduler = "ssh"\nhosts = ["a", "b", "c"]'


@pytest.mark.parametrize("ask", [True, False])
def test_a_login_host(connect, ask):
    assert connect(ask, LAB, a="open") == [("a", ask)]
    assert connect(ask, 'extends = "slurm"') == []
    with pytest.raises(HostError, match="a is away"):
        connect(ask, LAB, a="away")


def test_who_lets_us_in_is_not_waited_for(connect):
    assert connect(True, POOL, a="open", b="open", c="open") == [("a", False)]


def test_one_that_is_away_is_passed_over(connect):
    assert connect(True, POOL, a="away", b="open", c="open") == [("a", False), ("b", False)]
    with pytest.raises(HostError, match="a is away"):
        connect(True, POOL, a="away", b="away", c="away")


def test_where_a_person_is_wanted_all_are_asked_for(connect):
    asked = connect(True, POOL, a="person", b="away", c="person")
    assert asked == [("a", False), ("a", True), ("b", True), ("c", True)]


def test_where_there_is_no_person(connect):
    with pytest.raises(LoginError, match="a wants a person"):
        connect(False, POOL, a="person", b="person", c="locked")
    assert connect(False, POOL, a="person", b="person", c="open")[-1] == ("c", False)


def test_one_wrong_answer_is_not_the_end(connect):
    assert connect(True, POOL, a="locked", b="person", c="away")[-1] == ("c", True)
