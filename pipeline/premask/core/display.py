"""How numbers and roles are shown to people: the same on the terminal, on the card and on the report's page.

>>> percent(1, 3), percent(0.99253, 1, 2), file_size(1_234_567)
('33.3%', '99.25%', '1.2 MB')
"""

from __future__ import annotations

from .records import WRITERS

SHOWN_WRITERS = (*WRITERS[:-1], "other")
"""Who writes tokens, in the order in which they are listed; `tools` are tool definitions."""


def percent(part: float, whole: float, digits: int = 1) -> str:
    """Return a share in per cent; "-" of nothing.

    >>> percent(1, 3), percent(0, 0)
    ('33.3%', '-')
    """
    return f"{100 * part / whole:.{digits}f}%" if whole else "-"


def figure(value: float | None) -> str:
    """Return a count, or a share, as it is shown.

    >>> figure(1200), figure(0.5), figure(None)
    ('1,200', '50.00%', '-')
    """
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else percent(value, 1, 2)


def file_size(count: int) -> str:
    """Return a number of bytes.

    >>> file_size(1_000_000), file_size(2_500_000_000)
    ('1.0 MB', '2.5 GB')
    """
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def writer_of(origin: str) -> str:
    """Return who wrote a token, one of `SHOWN_WRITERS`, given its origin.

    >>> writer_of("user:0"), writer_of("narrator:1")
    ('user', 'other')
    """
    name = origin.partition(":")[0]
    return name if name in SHOWN_WRITERS else "other"
