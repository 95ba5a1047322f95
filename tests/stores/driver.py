"""Files of a driver's machine, by its real interchange, which has no managers."""

import sys
from contextlib import contextmanager

from pilotage.engine.commands import interchange_command, worker_command
from pilotage.engine.executor import HighThroughputExecutor
from pilotage.worker.data import link
from pilotage.worker.pool import _bring_driver_near
from stores.keeper import Disk


class KEEPER(Disk):
    @contextmanager
    def refused(self, path):
        """What the driver has not granted."""
        yield f"{self.url} and more/{path}"


@contextmanager
def serve(folder):
    executor = HighThroughputExecutor(
        label="driver",
        address="127.0.0.1",
        provider=None,
        launch_cmd=worker_command(sys.executable),
        interchange_launch_cmd=interchange_command(sys.executable),
    )
    executor.run_dir, executor.run_id = str(folder), "keeper"
    executor.start()

    def keeper(name):
        path = folder / name
        grants = [executor.grants.grant(path, mode) for mode in ("read", "write")]
        return KEEPER(path, f"driver:{path}", {"grant": grants})

    try:
        _bring_driver_near([("127.0.0.1", executor.worker_port)], executor.cert_dir, 120.0)
        yield keeper
    finally:
        link.here = None
        link.connections.close()
        executor.shutdown()
