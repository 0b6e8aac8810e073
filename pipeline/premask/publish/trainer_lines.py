"""How each trainer loads what premask writes: the few lines that give the right loss.

The docs and the dataset card show these snippets. `tests/publish/test_trainer_lines.py` runs them as they
are, with a model and a dataset filled in, and compares the loss with that of every sample run alone;
`test_other_trainers.py` does so for axolotl and LLaMA-Factory, which need other versions of the rest. Where a
trainer needs a GPU, the note says what was run instead.

    for snippet in snippets(["packed"], dataset="org/chats", model="org/model"):
        print(snippet.trainer, snippet.text)
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    """The lines for one trainer and one layout.

    `name` is unique; `layout` is one of `manifest.LAYOUTS`; `language` is that of `text` as Markdown names
    it, `python` or `yaml`. `text` names the dataset `DATASET` and the model `MODEL`, without quotes;
    `snippets` fills them in. `note` says in one or two sentences what to look out for. `essential` are the
    words that make the difference, for a table.
    """

    name: str
    trainer: str
    layout: str
    language: str
    essential: str
    text: str
    note: str


def snippets(layouts: Iterable[str], *, dataset: str = "out/chats", model: str = "MODEL") -> list[Snippet]:
    """Return the snippets for these layouts, in the order of `SNIPPETS`, with the names filled in.

    `dataset` is the output directory or the Hub id, `model` the model's directory or Hub id.

    >>> [each.name for each in snippets(["packed"])][:2]
    ['trl-packed', 'trainer-packed']
    >>> print(snippets(["packed"], dataset="org/chats")[0].text.splitlines()[5])
        train_dataset=load_dataset("org/chats", "packed", split="train"),
    """
    wanted = set(layouts)
    return [_filled(each, dataset, model) for each in SNIPPETS if each.layout in wanted]


def _filled(snippet: Snippet, dataset: str, model: str) -> Snippet:
    names = {"DATASET": dataset, "MODEL": model}
    text = re.sub(r"\b(DATASET|MODEL)\b", lambda found: _quoted(names[found[0]]), snippet.text)
    return dataclasses.replace(snippet, text=text)


def _quoted(text: str) -> str:
    r"""Return a string literal of Python and YAML alike.

    >>> _quoted('a"b')
    '"a\\"b"'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


SNIPPETS = (
    Snippet(
        name="trl-packed",
        trainer="TRL",
        layout="packed",
        language="python",
        essential="`padding_free=True, max_length=None`",
        text="""\
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

trainer = SFTTrainer(
    model=MODEL,
    train_dataset=load_dataset(DATASET, "packed", split="train"),
    args=SFTConfig(padding_free=True, max_length=None),
)
trainer.train()
""",
        note="Without `padding_free` the samples of a pack see each other; `max_length` is 1024 unless set, "
        "and cuts rows. Leave `packing` off: the rows are packed.",
    ),
    Snippet(
        name="trainer-packed",
        trainer="Trainer (transformers)",
        layout="packed",
        language="python",
        essential="our `Collator`",
        text="""\
from datasets import load_dataset
from premask.train import Collator
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

trainer = Trainer(
    model=AutoModelForCausalLM.from_pretrained(MODEL),
    train_dataset=load_dataset(DATASET, "packed", split="train"),
    data_collator=Collator(),
    args=TrainingArguments(per_device_train_batch_size=4),
)
trainer.train()
""",
        note="DataCollatorForSeq2Seq, DataCollatorWithFlattening and DataCollatorForLanguageModeling give a "
        "wrong loss on packs, without an error. `premask/train.py` needs torch alone and can be copied.",
    ),
    Snippet(
        name="trainer-packed-stock",
        trainer="Trainer, nothing of ours",
        layout="packed",
        language="python",
        essential="`default_data_collator`, batch size 1",
        text="""\
from datasets import load_dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, default_data_collator

trainer = Trainer(
    model=AutoModelForCausalLM.from_pretrained(MODEL),
    train_dataset=load_dataset(DATASET, "packed", split="train"),
    data_collator=default_data_collator,
    args=TrainingArguments(per_device_train_batch_size=1, gradient_accumulation_steps=4),
)
trainer.train()
""",
        note="A pack is a full batch; larger ones come from `gradient_accumulation_steps`.",
    ),
    Snippet(
        name="torch-packed",
        trainer="PyTorch",
        layout="packed",
        language="python",
        essential="our `Collator`, `use_cache=False`",
        text="""\
import torch
from datasets import load_dataset
from premask.train import Collator
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(MODEL).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
rows = load_dataset(DATASET, "packed", split="train").with_format("torch")
for batch in torch.utils.data.DataLoader(rows, batch_size=4, shuffle=True, collate_fn=Collator()):
    loss = model(**batch, use_cache=False).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
""",
        note="With a cache, which is the default of a bare call, the samples of a pack see each other.",
    ),
    Snippet(
        name="lightning-packed",
        trainer="Lightning",
        layout="packed",
        language="python",
        essential="our `Collator`, `use_cache=False`",
        text="""\
import lightning
import torch
from datasets import load_dataset
from premask.train import Collator
from transformers import AutoModelForCausalLM


class Chat(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = AutoModelForCausalLM.from_pretrained(MODEL).train()

    def training_step(self, batch, number):
        return self.model(**batch, use_cache=False).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-5)


rows = load_dataset(DATASET, "packed", split="train").with_format("torch")
loader = torch.utils.data.DataLoader(rows, batch_size=4, shuffle=True, collate_fn=Collator())
lightning.Trainer(max_epochs=1).fit(Chat(), loader)
""",
        note="With a cache, which is the default of a bare call, the samples of a pack see each other.",
    ),
    Snippet(
        name="nemo-automodel-packed",
        trainer="NeMo-Automodel",
        layout="packed",
        language="python",
        essential="`adapters.nemo_automodel`",
        text="""\
from datasets import load_dataset
from premask.publish.adapters import nemo_automodel

rows = load_dataset(DATASET, "packed", split="train")
rows = rows.map(nemo_automodel, remove_columns=rows.column_names)
""",
        note="It wants labels shifted already. For its `packed_sequence_thd_collater`, with a batch size of "
        "1, because that stacks rows of one length only.",
    ),
    Snippet(
        name="torchtune-packed",
        trainer="torchtune",
        layout="packed",
        language="python",
        essential="`adapters.torchtune`",
        text="""\
from datasets import load_dataset
from premask.publish.adapters import torchtune

rows = load_dataset(DATASET, "packed", split="train")
rows = rows.map(torchtune, remove_columns=rows.column_names)
""",
        note="Its recipes up to the last release, 0.6.1, shift the labels themselves; for its repository, "
        "which wants them shifted, take `torchtune_shifted`. Its source was read; it was not run.",
    ),
    Snippet(
        name="trl-unpacked",
        trainer="TRL",
        layout="unpacked",
        language="python",
        essential="`max_length=None`",
        text="""\
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

trainer = SFTTrainer(
    model=MODEL,
    train_dataset=load_dataset(DATASET, "unpacked", split="train"),
    args=SFTConfig(max_length=None),
)
trainer.train()
""",
        note="`max_length` is 1024 unless set, and cuts rows. `labels` are used as they are.",
    ),
    Snippet(
        name="trainer-unpacked",
        trainer="Trainer (transformers)",
        layout="unpacked",
        language="python",
        essential="`DataCollatorForSeq2Seq`, or our `Collator`",
        text="""\
from datasets import load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

trainer = Trainer(
    model=AutoModelForCausalLM.from_pretrained(MODEL),
    train_dataset=load_dataset(DATASET, "unpacked", split="train"),
    data_collator=DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(MODEL)),
    args=TrainingArguments(per_device_train_batch_size=4),
)
trainer.train()
""",
        note="DataCollatorForLanguageModeling overwrites the labels: it trains every token.",
    ),
    Snippet(
        name="axolotl-unpacked",
        trainer="axolotl",
        layout="unpacked",
        language="yaml",
        essential="an empty `type:`",
        text="""\
base_model: MODEL
datasets:
  - path: DATASET
    name: unpacked
    split: train
    type:
sequence_len: 8192
sample_packing: true
""",
        note="`sequence_len` is at least the `max_length` of the recipe. An empty `type` means rows that are "
        "tokenized already, which axolotl sees from `input_ids`, `attention_mask` and `labels`. Its loss is "
        "the mean of the micro-batches' means.",
    ),
    Snippet(
        name="llama-factory-unpacked",
        trainer="LLaMA-Factory",
        layout="unpacked",
        language="python",
        essential="`save_to_disk`, `tokenized_path`",
        text="""\
from datasets import load_dataset

rows = load_dataset(DATASET, "unpacked", split="train")
rows = rows.select_columns(["input_ids", "attention_mask", "labels"])
rows.save_to_disk("tokenized")
""",
        note="Then `tokenized_path: tokenized` in its YAML, and any name as `dataset`, which it asks for and "
        "does not read. Other columns would break its padding.",
    ),
    Snippet(
        name="unsloth-unpacked",
        trainer="unsloth",
        layout="unpacked",
        language="python",
        essential="`max_length=None`",
        text="""\
from unsloth import FastLanguageModel
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

model, tokenizer = FastLanguageModel.from_pretrained(MODEL, max_seq_length=8192)
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=load_dataset(DATASET, "unpacked", split="train"),
    args=SFTConfig(max_length=None),
)
trainer.train()
""",
        note="With `labels` in the rows it leaves them alone and pads with DataCollatorForSeq2Seq. It needs "
        "a GPU: that rule was run, unsloth was not.",
    ),
    Snippet(
        name="open-instruct-unpacked",
        trainer="open-instruct",
        layout="unpacked",
        language="python",
        essential="three columns",
        text="""\
from datasets import load_dataset

rows = load_dataset(DATASET, "unpacked", split="train")
rows = rows.select_columns(["input_ids", "attention_mask", "labels"])
""",
        note="The columns its cache of tokenized datasets has; it pads with DataCollatorForSeq2Seq or "
        "flattens. That was run, open-instruct was not.",
    ),
    Snippet(
        name="trl-preference",
        trainer="TRL, DPO",
        layout="preference",
        language="python",
        essential="our `SideCollator`, `max_length=None`",
        text="""\
from datasets import load_dataset
from premask.train import SideCollator
from trl import DPOConfig, DPOTrainer


class Prepared(DPOTrainer):
    def _prepare_dataset(self, dataset, *_):
        return dataset  # its ids are those to train on


trainer = Prepared(
    model=MODEL,
    train_dataset=load_dataset(DATASET, "preference", split="train"),
    data_collator=SideCollator(),
    args=DPOConfig(max_length=None, remove_unused_columns=False),
)
trainer.train()
""",
        note="TRL has no setting for rows that have ids, so the method that makes them is replaced. Its own "
        "collator takes `prompt_ids`, `chosen_ids` and `rejected_ids`, but no masks: it trains all of a "
        "side, also what users and tools say in it. Written for TRL 1.16.",
    ),
    Snippet(
        name="trl-kto",
        trainer="TRL, KTO",
        layout="kto",
        language="python",
        essential="our `SideCollator`, `max_length=None`",
        text="""\
from datasets import load_dataset
from premask.train import SideCollator
from trl import KTOConfig, KTOTrainer


class Prepared(KTOTrainer):
    def _prepare_dataset(self, dataset, *_):
        return dataset  # its ids are those to train on


trainer = Prepared(
    model=MODEL,
    train_dataset=load_dataset(DATASET, "kto", split="train"),
    data_collator=SideCollator(),
    args=KTOConfig(max_length=None, remove_unused_columns=False),
)
trainer.train()
""",
        note="As for DPO. The collator also makes the texts from which KTO estimates the KL term, with the "
        "answers of the same batch, as TRL does. Written for TRL 1.16.",
    ),
)
"""One for each trainer and layout, packed first, preferences last."""
