"""Names of a task's files in its folder, of which no two are the same and none is within another."""

from __future__ import annotations


class Names:
    """The names that are taken in one folder; those that are asked for come before those that are found."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._tops: set[str] = set()

    def ask(self, path: str) -> None:
        """Take a relative path; raises ValueError where it is another's, or one would be within the other."""
        for other in self._asked:
            if f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/"):
                raise ValueError(other)
        self._asked.add(path)
        self._tops.add(path.partition("/")[0])

    def leave(self, path: str) -> None:
        """Let no name that is found be at or within a relative path."""
        self._tops.add(path.partition("/")[0])

    def find(self, name: str) -> str:
        """Return a path that ends with ``name``: itself where it is free, else below a number."""
        if name in ("", ".", ".."):
            name = "data"
        if name not in self._tops:
            self._tops.add(name)
            return name
        number = 2
        while str(number) in self._tops:
            number += 1
        self._tops.add(str(number))
        return f"{number}/{name}"
