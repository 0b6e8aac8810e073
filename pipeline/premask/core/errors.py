"""Every error a user can meet, in one hierarchy.

    PremaskError                 something the user can fix; printed as one line, exit code 2
    ├── RecipeError              a recipe key or flag is unknown, missing or wrong
    ├── SourceError              an input file is missing, empty, broken or not what its name says
    ├── TokenizerError           the tokenizer cannot be loaded or is not usable
    ├── TemplateError            the chat template is missing or does not compile
    ├── OutputError              the output directory cannot be used
    ├── PushError                the output could not be sent to the Hub or a store
    ├── RunError                 the run as a whole failed (every row rejected, no worker process lives)
    └── VerifyError              a verified row gave two different results
    RowError                     one row cannot be used: becomes a line of the reject log

A message says what is wrong, with which file or row, and how to fix it. All of them can be
pickled, because workers raise them in other processes. Two helpers make one line of a foreign error:
`one_line` and `first_line`. Credentials are removed from all messages (`redact.py`) but from those of rows,
which are data.
"""

from __future__ import annotations

import os

from .redact import redacted


class PremaskError(Exception):
    """Base of the errors that end a run with one line and exit code 2.

    >>> str(PremaskError("https://host/a.jsonl?token=abc: no permission"))
    'https://host/a.jsonl: no permission'
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(each) if isinstance(each, str) else each for each in args))


class RecipeError(PremaskError, ValueError):
    """A recipe key or flag is unknown, missing or has a wrong value."""


class SourceError(PremaskError, ValueError):
    """An input file is missing, empty, broken or not what its name says."""


class TokenizerError(PremaskError, ValueError):
    """A tokenizer cannot be loaded, or lacks what the run needs."""


class TemplateError(PremaskError, ValueError):
    """A chat template is missing or does not compile."""


class OutputError(PremaskError, OSError):
    """The output directory cannot be used."""


class PushError(PremaskError, RuntimeError):
    """An output could not be sent to the Hub or a store."""


class RunError(PremaskError, RuntimeError):
    """The run as a whole failed."""


class VerifyError(PremaskError, RuntimeError):
    """A verified row gave two different results."""


class RowError(Exception):
    """One row cannot be used; `reason` is a key of `contract.REASONS`, `detail` a sentence.

    >>> str(RowError("unknown_role", "turn 2 has role 'narrator'"))
    "unknown_role: turn 2 has role 'narrator'"
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def cause_of(error: OSError) -> str:
    """What the system says is wrong, in one line, whichever library passed it on.

    >>> cause_of(OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device"))
    'No space left on device'
    """
    return os.strerror(error.errno) if error.errno else one_line(error)


def one_line(error: BaseException, limit: int | None = None) -> str:
    """All that an error says, in one line of at most `limit` characters, without credentials; its type if it
    says nothing.

    >>> one_line(ValueError("line 3:\\n  no such column")), one_line(KeyError())
    ('line 3: no such column', 'KeyError')
    """
    return (" ".join(redacted(str(error)).split()) or type(error).__name__)[:limit]


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line of what an error says that is not blank, at most `limit` characters, without
    credentials; its type if it says nothing.

    >>> first_line(ValueError("\\nno such column\\n  at line 3")), first_line(KeyError())
    ('no such column', 'KeyError')
    """
    lines = (line.strip() for line in redacted(str(error)).splitlines())
    return next(filter(None, lines), type(error).__name__)[:limit]
