"""Makes the README's picture from a real run: ``.venv/bin/python docs/images/make.py``.

The command runs on a pseudo-terminal; the picture is its screen just before the live line is taken away.
"""

import io
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
COLUMNS = 118
COMMAND = ["pilotage", "run", "--site", "laptop", "examples/stdlib_census.py"]
ERASE = "\r\x1b[2K"


def record(argv):
    """Return all that a program writes to its terminal."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, COLUMNS))
    # The driver's own bin folder first, so that the picture is of this checkout.
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        argv, env=env, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, preexec_fn=lambda: os.login_tty(slave)
    )
    os.close(slave)
    written = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the last process has closed its side
            break
        if not piece:
            break
        written += piece
    process.wait()
    return written.decode()


def screens(written):
    """Return the screen in the middle of the work, and the screen at the end."""
    frames = written.split(ERASE)
    kept, lives = frames[0], []
    for frame in frames[1:]:
        if "\n" in frame:
            kept += frame
        elif re.search(r"[1-9][0-9,]* done.* [1-9][0-9,]* launched", frame):
            lives.append(kept + frame)
    return lives[len(lives) // 2].replace("\r\n", "\n"), kept.replace("\r\n", "\n")


def main():
    busy, end = screens(record(COMMAND))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text("$ " + " ".join(COMMAND), style="bold"))
    console.print(Text.from_ansi(busy))
    console.print(Text("\n... and at the end:", style="italic dim"))
    console.print(Text.from_ansi(end.strip("\n")))
    svg = console.export_svg(title="pilotage run", font_aspect_ratio=0.6)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from elsewhere
    svg = svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    (Path(__file__).parent / "run.svg").write_text(svg)


if __name__ == "__main__":
    main()
