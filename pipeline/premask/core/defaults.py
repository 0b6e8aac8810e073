"""Choices and defaults that several modules need: of options that are no keys of a recipe, all that the
help needs of the modules that use them; and the size of rows, for files that are read without a recipe."""

MAX_ROW_BYTES = 64_000_000
"""Bytes of the largest row that is read, unless the recipe says otherwise (`max_row_bytes`)."""

ATTEMPTS = 3
"""How often a unit may fail before its rows are examined (`run --attempts`)."""

WAIT_S = 3600.0
"""How many seconds a rank waits for others (`run --wait`)."""

FORMS = ("arrow", "jsonl")
"""The forms of an export (`export --format`)."""

EXAMPLES = 3
"""Rejected rows that are shown of each reason (`rejects --limit`)."""
