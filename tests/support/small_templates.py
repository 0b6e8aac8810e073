"""Small chat templates, after those of real models: each ends its turns in its own way."""

from __future__ import annotations

from collections.abc import Callable

from premask.core.records import Conversation
from premask.masking.chat_template import ChatTemplate
from premask.masking.renders import Renders

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
GOLDEN = "{{ bos_token }}" + CHATML.replace("{% endif %}", "{% else %}{{ eos_token }}{% endif %}")
LLAMA_2 = "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
MISTRAL = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}"
COHERE = "{% for m in messages %}<|START|>{{ '<|USER|>' if m.role == 'user' else '<|BOT|>' }}{{ m.content }}<|END_RESPONSE|><|END|>{% endfor %}{% if add_generation_prompt %}<|START|><|BOT|>{% endif %}"
GLM = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
VICUNA = "{% for m in messages %}{{ 'USER: ' if m.role == 'user' else 'ASSISTANT: ' }}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
PHI_3 = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
REFUSES = "{{ raise_exception('no') }}"
HASHES = VICUNA.replace("{{ m.content }}\n", "{{ m.content }}###\n")


def renders_of(source: str) -> Callable[[Conversation], Renders]:
    template = ChatTemplate(source, variables={"bos_token": "<s>", "eos_token": "</s>"})
    return lambda conversation: Renders(conversation, template)
