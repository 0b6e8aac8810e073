"""Draw one explained row as an SVG: a box for each token, the trained ones filled, bold and underlined.

    premask explain chats.jsonl --tokenizer TOKENIZER --row 50 --format json | python examples/draw_tokens.py

It reads one JSON object from standard input and writes the picture to standard output. Everything drawn comes
from that object. The picture has its own background and follows the reader's light or dark mode. The same
object gives the same bytes.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from html import escape
from typing import Any, NamedTuple

WIDTH, MARGIN, LINE, CHARACTER, PAD = 880, 16, 27, 7.3, 4
"""Pixels: of the picture, its margin, a line of tokens, a character, and a token's padding."""

STYLE = """\
.page{fill:#fff;stroke:#d0d7de}.who,.note{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#59636e}
.token{fill:#f6f8fa;stroke:#d0d7de}.text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#59636e}
.trained .token{fill:#dafbe1;stroke:#1a7f37}
.trained .text{fill:#0a3d1c;font-weight:700;text-decoration:underline}
@media(prefers-color-scheme:dark){.page{fill:#0d1117;stroke:#3d444d}.who,.note{fill:#9198a1}
.token{fill:#151b23;stroke:#3d444d}.text{fill:#9198a1}.trained .token{fill:#0f2e1a;stroke:#3fb950}
.trained .text{fill:#aff5b4}}"""


class Token(NamedTuple):
    """One token as it is drawn."""

    text: str
    origin: str
    trained: bool


def tokens_of(sample: dict[str, Any]) -> list[Token]:
    """The tokens of an explained sample, each with its text, its writer and whether it is trained.

    >>> sample = {"text": "Hi\\n", "tokens": {"start": [0, 2], "end": [2, 3], "label": [-100, 7],
    ...           "origin": ["user:0", "template"]}}
    >>> tokens_of(sample)
    [Token(text='Hi', origin='user:0', trained=False), Token(text='\\n', origin='template', trained=True)]
    """
    columns = sample["tokens"]
    rows = zip(columns["start"], columns["end"], columns["label"], columns["origin"], strict=True)
    return [Token(sample["text"][start:end], by, label != -100) for start, end, label, by in rows]


def shown(text: str) -> str:
    """A token's text on one line: a leading space as `·`, a line break as `↵`."""
    return text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "·")


def columns_of(text: str) -> int:
    """How many columns of a monospaced font a text takes."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def draw(sample: dict[str, Any], *, title: str) -> str:
    """The picture of a sample. A message begins a new line, with its role before it."""
    parts: list[str] = []
    x, y, inside = float(MARGIN), float(MARGIN), True
    everything = tokens_of(sample)
    for token in everything:
        text = shown(token.text)
        width = columns_of(text) * CHARACTER + 2 * PAD
        starts = token.text.startswith("<|im_start|>") and token.origin == "template"
        if (starts and not inside) or x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + LINE
        inside = False
        parts.append(_box(x, y, width, text, trained=token.trained))
        x += width + 2
    trained = sum(token.trained for token in everything)
    y += LINE + 18
    note = f"{title}: {len(everything)} tokens, {trained} trained (green, underlined)"
    parts.append(f'<text class="note" x="{MARGIN}" y="{y:.0f}">{escape(note)}</text>')
    height = y + MARGIN
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(note)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="6"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _box(x: float, y: float, width: float, text: str, *, trained: bool) -> str:
    inner = width - 2 * PAD
    rect = f'<rect class="token" x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="22" rx="3"/>'
    words = (
        f'<text class="text" x="{x + PAD:.1f}" y="{y + 15:.0f}" textLength="{inner:.1f}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )
    return f'<g class="trained">{rect}{words}</g>' if trained else rect + words


def main() -> None:
    """Read an explained row, write its first sample as SVG."""
    row = json.loads(sys.stdin.readline())
    sys.stdout.write(draw(row["samples"][0], title=f"row {row['row']} ({row['id']})"))


if __name__ == "__main__":
    main()
