"""The part of a dataset card that says how to use the data: look at a row, load it, train on it, cite it.

A card is written before anybody knows where the data will be, so its lines name the place `OUT`. `at_repo`
gives them the name of the repo, when the card is pushed to one.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.contract import SIDES
from .markdown import as_code, as_fenced, as_plain
from .trainer_lines import SNIPPETS, Snippet, snippets


class Place(NamedTuple):
    """Where an output is: the name that `load_dataset` takes, and the branch if it is not the main one."""

    name: str
    revision: str = ""

    @property
    def tokenizer(self) -> str:
        """An expression of Python: the folder of the tokenizer."""
        if self == HERE:
            return '"OUT/tokenizer"'
        return f'snapshot_download("{self.name}", {self._at}repo_type="dataset") + "/tokenizer"'

    @property
    def imports(self) -> str:
        """The import that `tokenizer` needs."""
        return "" if self == HERE else "from huggingface_hub import snapshot_download\n"

    @property
    def _at(self) -> str:
        return f'revision="{self.revision}", ' if self.revision else ""

    def rows(self, layout: str) -> str:
        """An expression of Python: the rows of `train`."""
        return f'load_dataset("{self.name}", "{layout}", {self._at}split="train")'


HERE = Place("OUT")

_WHERE = "`OUT` is this folder."


def look_section(layouts: Sequence[str]) -> str:
    """Return how a row is looked at."""
    return f"{_WHERE}\n\n{_look(layouts[0], HERE)}"


def _look(layout: str, place: Place) -> str:
    """Return the lines that show a row."""
    load, rows = "from datasets import load_dataset\n", f"rows = {place.rows(layout)}\n"
    if layout not in SIDES:
        shown = f"premask.show(rows, {place.tokenizer}, n=1)  # in colour in a notebook, else print() it"
        text = f"import premask\n{load}{place.imports}\n{rows}{shown}"
    else:
        answer = "chosen_ids" if layout == "preference" else "completion_ids"
        tokenizer = f"tokenizer = AutoTokenizer.from_pretrained({place.tokenizer})\n"
        shown = f'print(tokenizer.decode(rows[0]["prompt_ids"] + rows[0]["{answer}"]))'
        text = f"{load}{place.imports}from transformers import AutoTokenizer\n\n{rows}{tokenizer}{shown}"
    return as_fenced(text, "python")


def train_section(layouts: Sequence[str]) -> str:
    """Return the lines of one trainer for the first layout, and who else trains on the data."""
    first = snippets(layouts[:1], dataset=HERE.name)[0]
    others = dict.fromkeys(_trainer(each) for each in SNIPPETS if each.layout in layouts)
    del others[_trainer(first)]
    more = f"The lines for {', '.join(others)} are in {_link('the documentation', 'trainers.html')}."
    what = f"{first.trainer}, with {first.essential}:"
    parts = [what, _train(layouts[0], HERE), first.note, *([more] if others else [])]
    return "\n\n".join(parts)


def _trainer(snippet: Snippet) -> str:
    """Return the name of a trainer without what is said of it.

    >>> sorted({_trainer(each) for each in SNIPPETS})[-3:]
    ['open-instruct', 'torchtune', 'unsloth']
    """
    return re.split(r", | \(", snippet.trainer)[0]


def _train(layout: str, place: Place) -> str:
    """Return the lines of the first trainer of a layout."""
    first = snippets([layout], dataset=HERE.name)[0]
    return as_fenced(first.text.replace(HERE.rows(layout), place.rows(layout)), first.language)


_BLOCKS: Sequence[Callable[[str, Place], str]] = (_look, _train)


def at_repo(readme: str, layouts: Sequence[str], repo: str, revision: str = "") -> str:
    """Return a card whose lines name the repo that it is in, and its branch if that is not the main one."""
    place = Place(repo, revision)
    for block in _BLOCKS:
        readme = readme.replace(block(layouts[0], HERE), block(layouts[0], place))
    return readme.replace(f"{_WHERE}\n\n", "")


# ==== Citation ====


def citation_section(facts: Mapping[str, Any]) -> str:
    """Return entries of BibTeX for the data and for premask."""
    title = facts["card"].get("pretty_name") or "Chat training data with the loss mask in it"
    key, version = facts["run_key"], facts["premask"]
    url = f"\n  url = {{{project_url()}}}," if project_url() else ""
    text = f"""\
@misc{{data-{key[:8]},
  title = {{{_bibtex(title)}}},
  note = {{Written by premask {version}, run {key[:16]}}},
}}

@software{{premask,
  title = {{premask: chat data to training shards with the loss mask}},
  author = {{{{The premask authors}}}},
  version = {{{version}}},{url}
}}"""
    return as_fenced(text, "bibtex")


def _bibtex(text: str) -> str:
    r"""Return text as a value of BibTeX.

    >>> print(_bibtex("50% of {all} _chats_"))
    50\% of \{all\} \_chats\_
    """
    line = " ".join(text.replace("\\", " ").split())
    return "".join(f"\\{char}" if char in "{}%&$#_" else char for char in line)


# ==== The project ====


def written_by(facts: Mapping[str, Any]) -> str:
    """Return what wrote the data, as a link where the project has an address."""
    return f"Written by {_link('premask', '')} {facts['premask']}, output contract {facts['contract']}."


def project_url() -> str:
    """Return the address of the project, as its package declares it; empty if it declares none."""
    try:
        declared = importlib.metadata.metadata("premask").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    urls = dict(each.split(", ", 1) for each in declared if ", " in each)
    return urls.get("Documentation") or urls.get("Homepage") or ""


def _link(text: str, page: str) -> str:
    url = project_url()
    if not url:
        return f"{text} of premask" if page else text
    return f"[{text}]({url.rstrip('/')}/{page})" if page else f"[{text}]({url})"


def licence_line(card: Mapping[str, Any]) -> str:
    """Return what is known of the licence."""
    if "license" in card:
        return f"License: {as_code(card['license'])}."
    return "No license is given here; that of the sources applies."


def title_of(card: Mapping[str, Any]) -> str:
    """Return the title of a card."""
    return as_plain(card.get("pretty_name") or "Chat training data with the loss mask in it")
