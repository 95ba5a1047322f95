"""``--site`` as it is written on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pilotage.errors import LabelError


def site_choice(given: Sequence[str], is_file: Callable[[str], bool]) -> str | dict[str, str] | None:
    """Return the choice of sites: a name, a mapping of label to name, or None where nothing was given.

    Raises LabelError where labels are missing or said twice.
    """
    if not given:
        return None
    pairs = [_pair(text, is_file) for text in given]
    if "" in given:
        raise LabelError("--site names no site", hint="an unset variable? pilotage site list shows all sites")
    if len(pairs) == 1 and not pairs[0][0]:
        return pairs[0][1]
    chosen: dict[str, str] = {}
    for label, site in pairs:
        if not label:
            raise LabelError(
                f"--site {site} has no label, and there are {len(pairs)} sites",
                hint="name each: --site cpu=lab --site gpu=polaris",
            )
        if not site:
            raise LabelError(f"--site {label}= names no site")
        if label in chosen:
            raise LabelError(
                f"the label {label!r} is given to {chosen[label]!r} and to {site!r}",
                hint="each site needs its own",
            )
        chosen[label] = site
    return chosen


def _pair(text: str, is_file: Callable[[str], bool]) -> tuple[str, str]:
    label, equals, site = text.partition("=")
    # A path may contain an equals sign; a label never has a slash.
    if not equals or (is_file(text) and "/" in label):
        return "", text
    return label, site
