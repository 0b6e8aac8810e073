"""Runs of the trainer for tests: a process that has torch loaded, and forks a child for each run.

    python tests/support/train_runs.py          # a JSON line a question on stdin, one an answer on stdout

Torch and transformers take five CPU-seconds to load; a child is there at once, and alone with what it changes:
it can be killed, be short of memory, or be one of several processes that train together (gloo). Questions:

    {"argv": [...], "processes": 2, "kill": ["report", 3], "memory": 99, "patch": "..."}   runs `train.main`
    {"case": "NAME", "arguments": {...}}                                        calls the function NAME of here

and answers `{"codes": [exit codes], "out": text, "err": text}` or `{"result": value}` in place of `out`.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from premask import train
from premask.train import FLAT, ROWS, SINGLE, Maker, Trainee, TrainError

IGNORED = -100


# ==== Models ====


def configs() -> dict[str, Callable[[int], Any]]:
    """Tiny models with what the heads of real ones do: soft caps, scales, ties, biases, experts."""
    tiny = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 2,
    }
    gemma = {"head_dim": 8, "sliding_window": 16, "tie_word_embeddings": True, "query_pre_attn_scalar": 8}
    made: dict[str, Callable[[int], Any]] = {
        "llama": lambda size: transformers.LlamaConfig(**tiny, vocab_size=size),
        "qwen3": lambda size: transformers.Qwen3Config(**tiny, vocab_size=size, head_dim=8),
        "gemma2": lambda size: transformers.Gemma2Config(
            **tiny, **gemma, vocab_size=size, final_logit_softcapping=5.0, attn_logit_softcapping=5.0
        ),
        "gemma3": lambda size: transformers.Gemma3TextConfig(**tiny, **gemma, vocab_size=size),
        "mixtral": lambda size: transformers.MixtralConfig(
            **tiny, vocab_size=size, num_local_experts=4, num_experts_per_tok=2, output_router_logits=True
        ),
        "phi3": lambda size: transformers.Phi3Config(**tiny, vocab_size=size),
        "granite": lambda size: transformers.GraniteConfig(**tiny, vocab_size=size, logits_scaling=8.0),
        "cohere": lambda size: transformers.CohereConfig(**tiny, vocab_size=size, logit_scale=0.25),
        "gpt2": lambda size: transformers.GPT2Config(
            vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=1024, initializer_range=0.2,
            pad_token_id=0, eos_token_id=2, bos_token_id=None,
        ),
        "opt": lambda size: transformers.OPTConfig(
            vocab_size=size, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=1024, word_embed_proj_dim=32, init_std=0.2, pad_token_id=0,
        ),
        "bloom": lambda size: transformers.BloomConfig(
            vocab_size=size, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2, pad_token_id=0
        ),
        "gpt_oss": lambda size: transformers.GptOssConfig(
            **tiny, vocab_size=size, head_dim=8, num_local_experts=4, num_experts_per_tok=2
        ),
        "qwen3_next": lambda size: transformers.Qwen3NextConfig(
            **tiny, vocab_size=size, head_dim=8, num_experts=4, num_experts_per_tok=2,
            moe_intermediate_size=16, shared_expert_intermediate_size=16, linear_num_key_heads=2,
            linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
            layer_types=["linear_attention", "full_attention"],
        ),
    }  # fmt: skip
    return made


def model_of(name: str, size: int) -> Any:
    """A random model in float32, with attention strong enough that documents which mix show it."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(configs()[name](size))
    for parameter, weight in model.named_parameters():
        if "q_proj" in parameter or "k_proj" in parameter:
            weight.data.mul_(3.0)
    return model.eval()


def save_model(name: str, size: int, path: str, dropout: float = 0.0, scale: float = 1.0) -> None:
    """A model directory; `dropout` is that of GPT-2, `scale` multiplies all weights."""
    model = model_of(name, size)
    if dropout:
        model.config.attn_pdrop = model.config.resid_pdrop = model.config.embd_pdrop = dropout
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    model.save_pretrained(path)


# ==== Losses and gradients ====


class Whole(transformers.LlamaForCausalLM):
    """A model that computes all logits, and takes no `logits_to_keep`, as old ones do."""

    def forward(self, input_ids: Any, position_ids: Any = None, use_cache: bool = False) -> Any:
        return super().forward(input_ids, position_ids=position_ids, use_cache=use_cache)


class Last(transformers.LlamaForCausalLM):
    """A model that takes `logits_to_keep` as a number only."""

    def forward(self, logits_to_keep: int = 0, **inputs: Any) -> Any:
        if not isinstance(logits_to_keep, int):
            raise TypeError("slice indices must be integers")
        return super().forward(logits_to_keep=logits_to_keep, **inputs)


class Deaf(transformers.LlamaForCausalLM):
    """A model that takes anything and returns all logits."""

    def forward(self, **inputs: Any) -> Any:
        inputs.pop("logits_to_keep", None)
        return super().forward(**inputs)


Documents = list[tuple[list[int], list[int], list[float] | None]]
"""Ids, labels and weights of each document."""


def documents_of(pack: Mapping[str, Any]) -> Documents:
    """The documents of a pack, cut out by hand."""
    found: Documents = []
    start = 0
    for length in pack["seq_lengths"]:
        cut = slice(start, start + length)
        weights = pack["loss_weights"][cut] if "loss_weights" in pack else None
        found.append((pack["input_ids"][cut], pack["labels"][cut], weights))
        start += length
    return found


def by_hand(model: Any, packs: list[dict[str, Any]], *, every: bool) -> dict[str, Any]:
    """Loss and gradients of all documents, each alone in the model."""
    total, count = torch.zeros((), dtype=torch.float64), 0.0
    for ids, labels, weights in (each for pack in packs for each in documents_of(pack)):
        if all(label == IGNORED for label in labels):
            continue  # padding
        scores = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
        for place in range(1, len(ids)):
            if every or labels[place] != IGNORED:
                weight = 1.0 if weights is None or every else weights[place]
                total = total - weight * scores[place - 1, ids[place]]
                count += weight
    return with_gradients(model, total / count)


def with_gradients(model: Any, loss: Any) -> dict[str, Any]:
    model.zero_grad()
    loss.backward()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    return {"loss": float(loss.detach()), "gradients": gradients}


def trained(model: Any, packs: list[dict[str, Any]], form: str, head: str, train_on: str) -> dict[str, Any]:
    """The same by what the trainer does, in two batches."""
    trainee = Trainee(
        model=model, core=model, head=head, autocast=None, device=torch.device("cpu"), fsdp=False
    )
    vocabulary = model.get_input_embeddings().weight.shape[0]
    make = Maker(form=form, train_on=train_on, vocabulary=vocabulary, pad_id=0, place=str)
    batches = [make([(0, packs[0])]), make(list(enumerate(packs))[1:])]
    weight = sum(batch.weight for batch in batches)
    total = sum(trainee.loss(batch) for batch in batches)
    return with_gradients(model, total / weight)


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Differences of loss and of gradients, the latter by the largest of all gradients."""
    assert one["gradients"].keys() == other["gradients"].keys()
    largest = max(float(each.abs().max()) for each in one["gradients"].values())
    differences = [(one["gradients"][name] - each).abs().max() for name, each in other["gradients"].items()]
    return [abs(one["loss"] - other["loss"]), float(max(differences)) / largest]


def losses(model: str, packs: list[dict[str, Any]], size: int, train_on: str = "assistant") -> dict[str, Any]:
    """Differences between the ways to compute a loss: sparse and full head, each form and by hand."""
    made = model_of(model, size)
    hand = by_hand(made, packs, every=train_on == "all")
    found: dict[str, Any] = {"loss": hand["loss"]}
    for form in (ROWS, FLAT, SINGLE):
        try:
            sparse, full = (trained(made, packs, form, head, train_on) for head in ("sparse", "full"))
        except (TypeError, ValueError):
            found[form] = None
            continue
        found[form] = {"heads": apart(sparse, full), "by_hand": apart(sparse, hand)}
    return found


def loss_by_hand(packs: list[dict[str, Any]], size: int, train_on: str) -> float:
    """The loss of the model of `save_model("llama")`."""
    return float(by_hand(model_of("llama", size), packs, every=train_on == "all")["loss"])


def spoil(path: str, to: str, id: int) -> None:  # noqa: A002
    """A copy of a model whose embedding of one token is no number."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        model.get_input_embeddings().weight[id] = float("nan")
    model.save_pretrained(to)


def scalars(path: str) -> dict[str, list[float]]:
    """What TensorBoard shows: the values of each curve."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    events = EventAccumulator(path).Reload()
    return {name: [each.value for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


def self_tests(model: str, size: int, form: str = ROWS) -> dict[str, Any]:
    """What the self-tests say of a model."""
    kinds = {each.__name__: each for each in (Whole, Last, Deaf)}
    if model in kinds:
        torch.manual_seed(0)
        made = kinds[model](configs()["llama"](size)).eval()
    else:
        made = model_of(model, size)
    trainee = Trainee(
        model=made, core=made, head="sparse", autocast=None, device=torch.device("cpu"), fsdp=False
    )
    make = Maker(form=form, train_on="assistant", vocabulary=size, pad_id=0, place=str)
    try:
        isolation = train.check_isolation(trainee, make, "sdpa")
    except TrainError as error:
        isolation = f"refused: {error}"
    return {"isolation": isolation, "head": train.check_head(trainee, make)}


def reread(path: str, ids: list[int]) -> dict[str, Any]:
    """What loads from a saved model: dtype, ids at which generation ends, and scores."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return {
        "rows": model.get_input_embeddings().weight.shape[0],
        "tokens": len(tokenizer),
        "ends": model.generation_config.eos_token_id,
        "pad": model.config.pad_token_id,
        "dtype": str(model.dtype),
        "scores": scores.float().tolist()[:8],
    }


def merged(path: str, base: str, ids: list[int]) -> dict[str, Any]:
    """What an adapter is, merged as the trainer says."""
    import peft  # noqa: PLC0415

    config = peft.PeftConfig.from_pretrained(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    size = len(transformers.AutoTokenizer.from_pretrained(path))
    if model.get_input_embeddings().weight.shape[0] < size:
        model.resize_token_embeddings(size)
    plain = model(input_ids=torch.tensor([ids])).logits[0, -1, :8].tolist()
    whole = peft.PeftModel.from_pretrained(model, path).merge_and_unload()
    scores = whole(input_ids=torch.tensor([ids])).logits[0, -1, :8].tolist()
    return {"rank": config.r, "changed": max(abs(a - b) for a, b in zip(plain, scores, strict=True))}


def command(words: list[str]) -> int:
    """The exit code of the command `premask`."""
    from premask.cli import app as cli  # noqa: PLC0415

    sys.argv = ["premask", *words]
    try:
        cli.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


# ==== Children ====


def run_main(question: Mapping[str, Any]) -> int:
    """Run the trainer, with what a test wants to happen to it."""
    if "kill" in question:
        name, count, number = question["kill"]
        _kill_at(name, count, number)
    if "memory" in question:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + question["memory"],) * 2)
    return train.main(question["argv"], "train")


def _kill_at(name: str, count: int, number: int) -> None:
    """Send this process a signal the `count`th time that it calls a function of the trainer."""
    work, calls = getattr(train, name), iter(range(1, 1000))

    def watched(*given: Any, **named: Any) -> Any:
        if next(calls) == count:
            os.kill(os.getpid(), number)
        return work(*given, **named)

    setattr(train, name, watched)


def fork(work: Callable[[], Any], environ: Mapping[str, str], out: int, err: int) -> int:
    """Do some work in a child with these streams; its id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.update(environ)
        torch.set_num_threads(1)
        code = work() or 0
    except BaseException:  # noqa: BLE001  told to who asked
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """Do what is asked in children, and wait for them."""
    processes = question.get("processes", 1)
    environ: list[dict[str, str]] = [{} for _ in range(processes)]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environ = [{**common, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(processes)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if "case" in question:
            work = lambda: print(json.dumps(globals()[question["case"]](**question["arguments"])))  # noqa: E731
        else:
            work = lambda: run_main(question)  # noqa: E731
        children = [fork(work, each, out.fileno(), err.fileno()) for each in environ]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        for stream in (out, err):
            stream.seek(0)
        return {"codes": codes, "out": out.read().decode(), "err": err.read().decode()}


def questions() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


if __name__ == "__main__":
    import datasets  # noqa: F401  loaded once, for all children
    import peft  # noqa: F401
    import torch.distributed.checkpoint
    import torch.distributed.fsdp
    import torch.utils.tensorboard
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("llama")  # the first call takes a third of a second
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for question in questions():
        answers.write(json.dumps(answer(question)) + "\n")
        answers.flush()
