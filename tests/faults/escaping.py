"""Children that do all they can to outlive a run, and what must come of them: for tests and their controls."""

from fault_run import ESCAPE, ESCAPING, KINDS, escapees, strike, until

STARTERS = ("script", "python", "bash")


def prepared(fault_run, **options):
    """Return a run, started, whose script, python_app and bash_app have each started one child of every kind."""
    run = fault_run(ESCAPING, **options)
    (run.here / "pids").mkdir()
    (run.here / "escape.sh").write_text(ESCAPE)
    run.start()
    until(lambda: "ready" in run.output(), lambda: f"ready: {run.told()}")
    wanted = {f"{starter}.{kind}" for starter in STARTERS for kind in KINDS}
    until(lambda: set(escapees(run.here)) == wanted, lambda: f"{wanted - set(escapees(run.here))}")
    run.remember()
    return run


def driver_is_killed(run):
    strike(run.find("driver"), "SIGKILL")
    assert run.ends() == "failed"
    run.is_gone()


def manager_is_killed(run, manager="manager"):
    """What the apps had started goes with their manager; the run goes on."""
    strike(run.find(manager), "SIGKILL")

    def of_apps():
        return [name for name in escapees(run.here) if not name.startswith("script.")]

    until(lambda: not of_apps(), lambda: f"nothing of the apps left; there is {of_apps()}", run.patience)
    assert not run.is_over()


def supervisor_is_killed(run, *command):
    """The next command ends what it left."""
    strike(run.find("supervisor"), "SIGKILL")
    done = run.command.run([*(command or run.program), "ps"], env=run.env, cwd=run.here)
    assert done.returncode == 0, done.stderr
    run.is_gone()


def adopted(run, timeout=60):
    """Wait until the supervisor has written down the orphans of the script."""
    until(
        lambda: len([one for one in run.journal() if one.what.get("role") == "left by the script"]) >= len(KINDS),
        lambda: f"orphans in the journal: {run.journal()}",
        timeout,
    )
