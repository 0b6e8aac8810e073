"""What TRL trains of some rows, by lines that make a trainer of MODEL and chats.jsonl: a line of JSON for each row.

    python tests/support/masked_by_trl.py TOKENIZER template.jinja < lines

MODEL is written to the current folder: the tokenizer with the template, and a small model. A process of its own,
because premask may have loaded transformers without torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    tokenizer.chat_template = Path(sys.argv[2]).read_text(encoding="utf-8")
    tokenizer.save_pretrained("MODEL")
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained("MODEL")
    names: dict[str, Any] = {}
    exec(sys.stdin.read(), names)  # noqa: S102
    for row in names["trainer"].train_dataset:
        trained = [int(label != -100) for label in row["labels"]]
        print(json.dumps({"ids": row["input_ids"], "trained": trained}))


if __name__ == "__main__":
    main()
