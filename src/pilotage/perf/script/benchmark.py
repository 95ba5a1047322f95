"""The script of a benchmark's run, started as any other script; what it does is in `pilotage.perf.program`."""

import sys

from pilotage.perf.program import main

sys.exit(main(sys.argv[1:], sys.stdout, sys.stderr))
