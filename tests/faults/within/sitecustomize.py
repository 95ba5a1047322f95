"""Put on PYTHONPATH by the controls: switches one protection off in the processes that have it."""

import os
import sys

WITHOUT = os.environ.get("FAULTS_WITHOUT", "")

if WITHOUT == "guard" and "pilotage.worker.pool" in sys.orig_argv:
    from pilotage.worker import guard

    guard.guarded = lambda manager, *_: manager()

if WITHOUT == "watch" and "pilotage.engine.interchange" in sys.orig_argv:
    from pilotage import system

    system.when_process_ends = lambda *_: None

if WITHOUT == "session" and "pilotage.engine.interchange" in sys.orig_argv:
    os.setsid = lambda: None

if WITHOUT in ("patience", "names", "cache") and {"pilotage.worker.pool", "pilotage.engine.interchange"} & set(
    sys.orig_argv
):
    from pilotage.worker.data import cache, copying

    if WITHOUT == "patience":
        copying.TRIES = 1
    if WITHOUT == "names":
        from pilotage.engine import parts

        copying.beside = lambda path: path
        parts.name_of = lambda name, *_: name
    if WITHOUT == "cache":
        cache.Cache.get = lambda *_: None
