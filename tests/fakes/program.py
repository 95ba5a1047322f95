"""Starts a fake command: ``program.py FAKE STATE_FOLDER COMMAND [ARGUMENT]...``."""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main():
    fake, folder, *argv = sys.argv[1:]
    code, out, err = importlib.import_module(f"fakes.{fake}").answer(folder, argv)
    for stream, text in ((sys.stdout, out), (sys.stderr, err)):
        stream.buffer.write(text.encode())
        stream.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
