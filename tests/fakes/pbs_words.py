"""What the commands of the fake OpenPBS have in common: options, refusals, and JSON as qstat writes it."""

import getopt
import json
import re
import time

from fakes.machine import Unpinned

VERSION = "23.06.06"
MEMORY = 24 << 20
"""kB of a node."""


class Refused(Exception):
    """A command that fails: its exit code and its words."""

    def __init__(self, code, words, out=""):
        super().__init__(words)
        self.said = (code, out, words + "\n")


def parsed(arguments, letters):
    try:
        options, rest = getopt.gnu_getopt(arguments, letters)
    except getopt.GetoptError as error:
        raise Unpinned(str(error)) from error
    return options, rest


def whole(state, name):
    return f"{name}.{state['server']}" if name.isdecimal() else name


def clock(total):
    return f"{total // 3600:02}:{total % 3600 // 60:02}:{total % 60:02}"


class Value(str):
    """A value of the environment, which is written as a number where it looks like one."""


def head(machine):
    return {"timestamp": int(time.time()), "pbs_version": VERSION, "pbs_server": server(machine)}


def server(machine):
    return json.loads((machine.folder / "state.json").read_text())["server"]


def written(whole_, old=False):
    return _json(whole_, 0, old) + "\n"


def _json(value, depth, old):
    if isinstance(value, dict):
        if not value:
            return "{\n" + "\t" * depth + "}"
        inner = "\t" * (depth + 1)
        lines = [f"{inner}{json.dumps(key)}:\t{_json(item, depth + 1, old)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "\t" * depth + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(item, depth, old) for item in value) + "]"
    if isinstance(value, Value) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
        number = float(value)
        return value if old else str(int(number)) if number == int(number) else repr(number)
    if isinstance(value, Value) and old and "," in value:
        return '"' + value.replace(",", "\\,") + '"'
    return json.dumps(value, ensure_ascii=False)
