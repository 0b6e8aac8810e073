"""Near duplicates and contamination: what is found of planted copies and questions, and what it costs.

    python benchmarks/near_text.py --chats ROWS.json --evaluation GSM8K.json [--rows 20000]

`--chats` is a JSON list, or JSONL, of rows with an `instruction` and an `output` or `response`. Copies of its
rows with 1, 5 and 20 % of the words replaced are planted among them; recall is the share of copies that are
found, precision the share of what is found that is a copy of the row which it is said to be near.
`--evaluation` has rows whose `instruction` is a question. Questions are planted into rows of `--chats`:
whole, with one word in ten replaced, or their first six tenths. Rows without one, and other questions, must
not be found. Time and memory of `--rows` made-up rows are those of a process of its own. Everything but time
follows from `--seed`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import save, table

Words = list[str]
SHARES = (0.01, 0.05, 0.20)
AT_ONCE = 1024  # rows of a batch, as in a run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chats", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--part", choices=["time"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "time":
        print(json.dumps(cost(options.rows, options.seed)))
        return
    figures: dict[str, Any] = {"copies": [*copies(options.chats, options.seed)]}
    print(table(["words replaced", "threshold", "copies", "found", "recall", "precision"], figures["copies"]))
    if options.evaluation is not None:
        figures["questions"] = [*questions(options.evaluation, options.chats, options.seed)]
        print(table(["planted", "questions", "found", "recall", "false"], figures["questions"]))
    own = [sys.executable, __file__, "--chats", str(options.chats), "--seed", str(options.seed)]
    done = subprocess.run(
        [*own, "--part", "time", "--rows", str(options.rows)], check=True, capture_output=True
    )
    figures["cost"] = json.loads(done.stdout)
    print(table(["what", "figure"], figures["cost"].items()))
    save(options.save, figures)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON list or of JSONL."""
    text = path.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        json.loads(text) if text.lstrip().startswith("[") else [*map(json.loads, text.splitlines())]
    )
    return rows


def texts_of(path: Path) -> list[str]:
    answers = ((row, row.get("output") or row.get("response", "")) for row in rows_of(path))
    found = (f"{row['instruction']}\n{row.get('input', '')}\n{answer}" for row, answer in answers)
    return [*dict.fromkeys(text for text in found if len(text.split()) >= 30)]


def replaced(rng: random.Random, words: Words, share: float, vocabulary: Sequence[str]) -> Words:
    """Replace a share of the words, at least one."""
    found = list(words)
    for at in rng.sample(range(len(words)), max(1, round(share * len(words)))):
        found[at] = rng.choice(vocabulary)
    return found


# ==== Near duplicates ====


def copies(path: Path, seed: int, most: int = 1500) -> Iterator[list[object]]:
    rng = random.Random(seed)  # noqa: S311
    texts = texts_of(path)
    rng.shuffle(texts)
    texts = texts[: 4 * most]
    vocabulary = sorted({word for text in texts for word in text.split()})
    for share in SHARES:
        originals = range(min(most, len(texts) // 2))
        planted = [" ".join(replaced(rng, texts[at].split(), share, vocabulary)) for at in originals]
        for threshold in (0.5, 0.7, 0.8):
            pairs = near([*texts, *planted], threshold)
            hits = sum(copy - len(texts) == first for copy, first in pairs.items())
            found = [f"{hits / len(originals):.1%}", f"{hits / len(pairs):.1%}" if pairs else "-"]
            yield [f"{share:.0%}", threshold, len(originals), len(pairs), *found]


def near(rows: Sequence[str], threshold: float) -> dict[int, int]:
    """Return the near duplicates among rows, and the rows that they are near."""
    from premask.core.comparing import NearDuplicates  # noqa: PLC0415
    from premask.running import near_duplicates as own  # noqa: PLC0415

    settings = NearDuplicates(threshold=threshold)
    signer = own.Signer(settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signatures"
        cuts = [[*range(at, min(at + AT_ONCE, len(rows)))] for at in range(0, len(rows), AT_ONCE)]
        batches = [signer.rows(0, cut, [[rows[at]] for at in cut]) for cut in cuts]
        own.write_signatures(path, signer.schema, batches)
        signed = own.Signed([path])
        found = own.find_near(signed, settings, np.zeros(len(signed), bool))
        return dict(zip(signed.row[found.place].tolist(), signed.row[found.first].tolist(), strict=True))


# ==== Contamination ====


def questions(evaluation: Path, chats: Path, seed: int) -> Iterator[list[object]]:
    from premask.core.recipe import Recipe  # noqa: PLC0415
    from premask.running.decontaminate import Contamination, read_sets  # noqa: PLC0415

    rng = random.Random(seed)  # noqa: S311
    texts, asked = texts_of(chats), [str(row["instruction"]) for row in rows_of(evaluation)]
    rng.shuffle(asked)
    vocabulary = sorted({word for text in texts[:2000] for word in text.split()})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "evaluation.jsonl"
        path.write_text("".join(json.dumps({"question": each}) + "\n" for each in asked), encoding="utf-8")
        settings = {"sets": [str(path)]}
        recipe = Recipe.model_validate(
            {"sources": ["-"], "tokenizer": "-", "output": "-", "decontaminate": settings}
        )
        index = read_sets(recipe)
        assert index is not None
        assert recipe.decontaminate is not None
        index.write(Path(folder) / "index.npz")
        contamination = Contamination(Path(folder) / "index.npz", recipe.decontaminate)
    hosts = [text for text in texts if not contamination.rows(0, [0], [[text]])][:2000]
    clean = len(contamination.rows(0, [*range(len(texts))], [[text] for text in texts]))
    yield ["nothing", 0, clean, "-", clean]
    planted = {
        "whole": lambda words: words,
        "one word in ten replaced": lambda words: replaced(rng, words, 0.1, vocabulary),
        "the first six tenths": lambda words: words[: -(-6 * len(words) // 10)],
    }
    for name, change in planted.items():
        rows = [
            f"{host} {' '.join(change(question.split()))}"
            for host, question in zip(hosts, asked, strict=False)
        ]
        found = contamination.rows(0, [*range(len(rows))], [[row] for row in rows])
        right = sum(f"row {drop.row} of" in drop.detail for drop in found)
        yield [name, len(rows), len(found), f"{right / len(rows):.1%}", len(found) - right]


# ==== Cost ====


def cost(rows: int, seed: int) -> dict[str, object]:
    """Sign and compare rows of 200 made-up words each, of which one in twenty is a copy with one word in a
    hundred replaced."""
    from premask.core.comparing import NearDuplicates  # noqa: PLC0415
    from premask.running import near_duplicates as own  # noqa: PLC0415

    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    settings = NearDuplicates()
    signer, made = own.Signer(settings), 0.0
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for unit, at in enumerate(range(0, rows, 50 * AT_ONCE)):
            batches = []
            for first in range(at, min(at + 50 * AT_ONCE, rows), AT_ONCE):
                start = time.process_time()
                numbers = [*range(first, min(first + AT_ONCE, rows))]
                texts = [[made_up(number, seed)] for number in numbers]
                made += time.process_time() - start
                batches.append(signer.rows(0, numbers, texts))
            paths.append(Path(folder) / f"{unit:05d}")
            own.write_signatures(paths[-1], signer.schema, batches)
        signing, start = time.process_time() - begin - made, time.process_time()
        signing_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signed = own.Signed(paths)
        found = own.find_near(signed, settings, np.zeros(len(signed), bool))
        finding = time.process_time() - start
        disk = sum(path.stat().st_size for path in paths)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": rows,
        "signing, CPU seconds": round(signing, 2),
        "finding, CPU seconds": round(finding, 2),
        "memory before, MB": before // 1024,
        "memory while signing, MB": signing_memory // 1024,
        "memory at most, MB": most // 1024,
        "on disk, MB": disk // 1_000_000,
        "found": len(found.place),
        "copies": sum(number % 20 == 9 for number in range(rows)),
    }


_VOCABULARY = [f"{a}{b}{c}{d}" for a in "bdfglmnprst" for b in "aeiou" for c in "lmnrst" for d in "aeiouy"]


def made_up(number: int, seed: int) -> str:
    """Return the text of a row; each twentieth is a copy of an earlier one."""
    original = number // 2 if number % 20 == 9 else number
    rng = random.Random(f"{seed} {original}")  # noqa: S311
    words = rng.choices(_VOCABULARY, k=200)
    if original != number:
        words = replaced(random.Random(number), words, 0.01, _VOCABULARY)  # noqa: S311
    return " ".join(words)


if __name__ == "__main__":
    main()
