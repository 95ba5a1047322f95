"""Files of this machine: there is no server."""

import os
import tempfile
from contextlib import contextmanager

from stores.keeper import Disk

NOBODY = 65534


class KEEPER(Disk):
    @contextmanager
    def refused(self, path):
        """As somebody else, where the tests run as root, to whom nothing is forbidden."""
        there = self.path / path
        mode = there.parent.stat().st_mode
        there.parent.chmod(0)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        try:
            yield self.at(path)
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            there.parent.chmod(mode)


@contextmanager
def serve(folder):
    """Elsewhere than in ``folder``, whose folder is root's alone."""
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)
        yield lambda name: KEEPER(f"{base}/{name}", f"{base}/{name}")
