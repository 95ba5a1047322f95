"""``python -m pilotage.perf.sequential CONFIG``: calls made one after the other, each waited for.

Writes ``latency.json`` beside the config: the seconds of each call, the first of them as warm-up.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
import types
from pathlib import Path

WARM_UP, CALLS = 50, 1_000
SECONDS = 20.0
"""Time after which no more calls are made, however few there were."""


def _nothing() -> None:
    return None


nothing = types.FunctionType(_nothing.__code__, {"__name__": "__main__", "__builtins__": __builtins__}, "nothing")
"""Sent by value: a worker need not have this package."""


def main(path: Path) -> None:
    """Load the config, make the calls, write what they took."""
    import parsl

    config = runpy.run_path(str(path))["fresh_config"]()
    with parsl.load(config):
        app = parsl.python_app(nothing)
        samples: list[float] = []
        end = time.monotonic() + SECONDS
        while len(samples) < WARM_UP + CALLS and (time.monotonic() < end or not samples):
            begin = time.perf_counter()
            app().result()
            samples.append(round(time.perf_counter() - begin, 7))
    warm_up = min(WARM_UP, len(samples) // 4)
    path.with_name("latency.json").write_text(json.dumps({"samples": samples, "warm_up": warm_up}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
