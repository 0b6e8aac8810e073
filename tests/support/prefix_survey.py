"""All prefixes of conversations in one run, over the corpus of chat templates, against plain renders.

    python tests/support/prefix_survey.py [part of a template's name]

It prints for how many conversations the templates are followed, how many texts are equal, and why others are
rendered the plain way. It takes some minutes.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache

from conversation_kinds import KINDS
from prefix_checks import ask, conversation_of
from premask.core.errors import TemplateError
from premask.core.records import Conversation
from premask.masking.chat_template import ChatTemplate
from premask.masking.prefixes.renders import PrefixRenders, PrefixTemplate
from premask.masking.renders import Renders
from template_corpus import CORPUS, source_of, variables_of


@cache
def files() -> tuple[str, ...]:
    """The templates of the corpus that compile."""
    return tuple(file for file in CORPUS if _compiles(file))


def _compiles(file: str) -> bool:
    try:
        cut(file)
    except TemplateError:
        return False
    return True


@cache
def cut(file: str) -> PrefixTemplate:
    """A template of the corpus, cut into units."""
    return PrefixTemplate(ChatTemplate(source_of(file), variables=variables_of(file)))


def compared(template: PrefixTemplate, conversation: Conversation) -> Counter[str]:
    """How many versions of a run are equal to a plain render, with their runs."""
    found = Counter(conversations=1)
    own, plain = PrefixRenders(conversation, template), Renders(conversation, template.template)
    if own.run is None:
        return found + Counter({"the plain way": 1})
    for number, version in enumerate(own.versions):
        if number not in own.run.texts:
            found["an error" if ask(plain, version)[0] == "refused" else "an error in the run alone"] += 1
            continue
        same = ask(own, version, traced=True) == ask(plain, version, traced=True)
        found["equal" if same else "different"] += 1
    return found


def main(part: str = "") -> None:
    """Print the result for all templates and kinds."""
    found, reasons = Counter[str](), Counter[str]()
    own = [file for file in files() if part in file]
    for file in own:
        for kind in KINDS:
            found += compared(cut(file), conversation_of(kind))
        reasons += cut(file).reasons
    print(f"{len(own)} templates, {sum(not cut(file).unsplit for file in own)} of them cut into units")
    for counts in (found, reasons):
        for name, count in counts.most_common():
            print(f"{count:8}  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
