"""The script of a benchmark's run, started as any other script; what it does is in `pilotage.perf.program`."""

import sys


def _without_ctrl_c(kind, error, traceback):  # type: ignore[no-untyped-def]
    """Show what has ended the script; a Ctrl-C is told of in words, and where it has struck is nobody's business."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _without_ctrl_c

from pilotage.perf.program import main  # noqa: E402  a Ctrl-C may come while it is imported

sys.exit(main(sys.argv[1:], sys.stdout, sys.stderr))
