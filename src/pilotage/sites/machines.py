"""What known machines' nodes are like, as their centres publish it."""

from __future__ import annotations

from collections.abc import Mapping

# Of each eight cores the first is the system's.
_MI250X = ("49-55", "57-63", "17-23", "25-31", "1-7", "9-15", "33-39", "41-47")

NEAREST: Mapping[str, tuple[str, ...]] = {
    "polaris": ("24-31,56-63", "16-23,48-55", "8-15,40-47", "0-7,32-39"),
    # By tile, 0.0 to 5.1. The first core of each socket (0 and 52) is the system's, and each tile has eight others.
    "aurora": (
        "1-8,105-112",
        "9-16,113-120",
        "17-24,121-128",
        "25-32,129-136",
        "33-40,137-144",
        "41-48,145-152",
        "53-60,157-164",
        "61-68,165-172",
        "69-76,173-180",
        "77-84,181-188",
        "85-92,189-196",
        "93-100,197-204",
    ),
    "frontier": _MI250X,
    "lumi": _MI250X,
    "perlmutter": ("48-63,112-127", "32-47,96-111", "16-31,80-95", "0-15,64-79"),
}
"""The cores nearest to each accelerator of a node, in the order of the accelerators."""
