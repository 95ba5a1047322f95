"""What every scheduler keeps, whoever wrote it: subclass `SchedulerRendering` and give it the fixtures.

``asked`` is the scheduler, ``complete`` a dict of settings that asks for everything it knows, and ``required`` the
part of them without which nothing can be rendered.
"""

import re
import subprocess

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.errors import SiteValueError
from pilotage.schedulers.base import Block, Queue

# The fixtures do not change from one example to the next.
UNCHANGED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
BREAKS = ["\n", "\r", "\v", "\f", "\0", "\x85", "\u2028"]


def texts_of(value):
    """Yield every text in a setting."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_of(inner)


def shell_of(text):
    """Return the shell script of a block: the text itself, or what a manifest's container runs."""
    if text.startswith("#!"):
        return text
    [container] = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    return container["command"][-1]


class SchedulerRendering:
    """The contract of ``schedulers.base.Scheduler``."""

    @pytest.fixture
    def block(self, required):
        """Make a block of it; keyword arguments change its fields."""

        def make(**changes):
            fields = {
                "name": "lab.block-0",
                "command": "/env/bin/worker --id 7",
                "stdout": "/run/out",
                "stderr": "/run/err",
            }
            return Block(**{**fields, "settings": required, **changes})

        return make

    @pytest.fixture
    def whole(self, block, complete):
        return block(settings=complete, nodes=3, tasks_per_node=1, walltime="26:30:00", worker_init="module load conda")

    def test_it_has_a_name_and_commands(self, asked):
        assert re.fullmatch("[a-z]+", asked.name)
        assert isinstance(asked.commands, tuple)
        assert all(re.fullmatch(r"[\w.-]+", command) for command in asked.commands)

    def test_it_renders_the_same_twice(self, asked, whole):
        assert asked.render(whole) == asked.render(whole)

    def test_the_block_is_all_there_and_in_order(self, asked, whole):
        script = shell_of(asked.render(whole))
        init, name, command = (script.index(text) for text in (whole.worker_init, whole.name, whole.command))
        assert init < command
        assert script.index(f"export JOBNAME={whole.name}") > init
        assert name < command

    def test_every_setting_is_there(self, asked, whole):
        text = asked.render(whole)
        for wanted in texts_of(whole.settings):
            assert wanted in text

    def test_the_text_ends_with_one_line_end(self, asked, whole):
        assert re.search(r"[^\n]\n\Z", asked.render(whole))

    def test_bash_accepts_it(self, asked, whole, block):
        for described in (whole, block()):
            script = shell_of(asked.render(described))
            assert subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True).stderr == ""

    def test_nothing_of_ours_shows(self, asked, whole, block, required):
        empty = block(settings={**dict.fromkeys(whole.settings), **required})
        for described in (whole, block(), empty):
            assert not re.search(r"None|[Uu]ndefined|True|False|\{\{|\{%", asked.render(described))

    def test_a_setting_of_none_is_one_that_is_missing(self, asked, whole, block, required):
        assert asked.render(block(settings={**dict.fromkeys(whole.settings), **required})) == asked.render(block())

    def test_settings_of_others_do_not_matter(self, asked, block, required):
        assert asked.render(block(settings={**required, "nobodys": "x"})) == asked.render(block())

    @pytest.mark.parametrize("end", BREAKS)
    def test_no_value_ends_its_directive(self, asked, whole, block, end):
        """A value with a line break is refused, or is in no directive at all."""
        attack = f"{end}#SBATCH --x{end}#PBS -x{end}#$ -x{end}#flux: --x"
        described = [block(name="a" + attack), block(stdout="/a" + attack), block(stderr="/a" + attack)]
        keys = [key for key, value in whole.settings.items() if isinstance(value, str) and key != "scheduler_options"]
        described += [block(settings={**whole.settings, key: whole.settings[key] + attack}) for key in keys]
        for one in described:
            try:
                text = asked.render(one)
            except SiteValueError:
                continue
            head = text.partition("\n\n")[0] if text.startswith("#!") else ""
            assert "-x" not in head

    @pytest.mark.parametrize("walltime", ["", "1h", "30", "00:00:00", "01:00:00\n", "1-00:00:00", "00:99:00"])
    def test_what_is_no_wall_time_is_refused(self, asked, block, walltime):
        with pytest.raises(SiteValueError):
            asked.render(block(walltime=walltime))

    @pytest.mark.parametrize("changes", [{"nodes": 0}, {"tasks_per_node": 0}, {"nodes": -1}])
    def test_no_nodes_are_refused(self, asked, block, changes):
        with pytest.raises(SiteValueError):
            asked.render(block(**changes))

    def test_questions_are_argument_lists(self, asked):
        account = asked.account_query("ada")
        for argv in (*asked.queue_queries(), *([account] if account is not None else [])):
            assert argv[0] in asked.commands or argv[0] == "sacctmgr"
            assert all(isinstance(word, str) and word for word in argv)

    def test_no_answer_means_no_queues_and_no_accounts(self, asked):
        queries = asked.queue_queries()
        assert asked.parse_queues([]) == []
        assert asked.parse_queues([""] * len(queries)) == []
        assert asked.parse_queues(["\n"] * (len(queries) + 1)) == []
        assert asked.parse_accounts("", "ada") == []

    @UNCHANGED
    @given(outputs=st.lists(st.text(), max_size=4), user=st.text(max_size=5))
    def test_no_answer_is_too_strange(self, asked, outputs, user):
        found = asked.parse_queues(outputs)
        assert all(isinstance(queue, Queue) and queue.name for queue in found)
        accounts = asked.parse_accounts("\n".join(outputs), user)
        assert all(isinstance(account, str) and account for account in accounts)
