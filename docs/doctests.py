"""A griffe extension: the `>>>` lines of docstrings become blocks of code in the API pages.

Docstrings of the package hold doctests as plain paragraphs. Markdown would read `>>>` as a quotation.
`mkdocs.yml` names this file; it is no page.
"""

from __future__ import annotations

from typing import Any

import griffe


def fenced(text: str) -> str:
    r"""Put each paragraph that begins with `>>>` between fences.

    >>> fenced("Add.\n\n>>> 1 + 1\n2\n\nFast.")
    'Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nFast.'
    """
    paragraphs = text.split("\n\n")
    return "\n\n".join(f"```pycon\n{part}\n```" if part.startswith(">>> ") else part for part in paragraphs)


class Doctests(griffe.Extension):
    """Changes the docstring of everything that is documented."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
