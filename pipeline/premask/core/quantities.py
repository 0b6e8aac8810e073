"""Numbers as recipes and options write them: plain, with underscores, or with a unit.

    4096   4_096        a plain number
    4k   20M   1.5G     thousands, millions, thousands of millions; `B` is `G`
    4Ki                 4096: the units with an i are powers of 1024
    64MB   1.5 GiB      bytes, which may be followed by a B

A recipe and its manifest hold what a number is, not how it was written. A fraction that is left is cut off.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_POWERS = {"k": 1, "M": 2, "G": 3, "K": 1, "B": 3}
_DIGITS = r"([0-9]{1,12}(?:_[0-9]{1,12}){0,4}(?:\.[0-9]{1,12})?)"
COUNT_PATTERN = r"^\s*[0-9][0-9_.]*( ?([kKMG]i?|B))?\s*$"
SIZE_PATTERN = r"^\s*[0-9][0-9_.]*( ?[kKMG]i?B?)?\s*$"
"""What a schema allows as a text: a little more than is read."""

_COUNT = re.compile(rf"{_DIGITS} ?(?:([kKMG])(i?)|(B))")
_BYTES = re.compile(rf"{_DIGITS} ?([kKMG])(i?)B?()")


def count(value: Any) -> Any:
    """Return a number with a unit as an int; anything else as it is.

    >>> count("4k"), count("4Ki"), count("1.5M"), count("2B"), count("4_096"), count("64MB"), count(True)
    (4000, 4096, 1500000, 2000000000, '4_096', '64MB', True)
    """
    return _number(value, _COUNT)


def size(value: Any) -> Any:
    """Return a size with a unit in bytes; anything else as it is.

    >>> size("64MB"), size("1.5 GiB"), size("64M"), size("1000"), size("much")
    (64000000, 1610612736, 64000000, '1000', 'much')
    """
    return _number(value, _BYTES)


def _number(value: Any, written: re.Pattern[str]) -> Any:
    found = written.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        return value
    digits, unit, binary, billion = found.groups()
    return int(Decimal(digits) * (1024 if binary else 1000) ** _POWERS[unit or billion])
