"""Writes fixtures/chat/: chat templates in three styles and transformers' renderings of a few conversations.

    python scripts/make_chat_fixtures.py            # versions: scripts/requirements.txt

The templates are our own text. They are written to give the known rendered forms of the Qwen2.5, Qwen3 and
DeepSeek-R1-Distill templates for plain conversations (no tools), with the same Jinja features those use: namespaces,
reversed slices, `loop.index0`, string methods of Python, `is defined` and `is string` tests, `not false` tests.
"""

from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

import tiny_tokenizer

ROOT = Path(__file__).resolve().parent.parent / "fixtures" / "chat"

QWEN25 = r"""
{%- if messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
{%- endif %}
{%- for turn in messages %}
    {{- '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""".strip()

QWEN3 = r"""
{%- set state = namespace(last_user=messages|length - 1, searching=true) %}
{%- for turn in messages[::-1] %}
    {%- set position = messages|length - 1 - loop.index0 %}
    {%- if state.searching and turn.role == 'user' and turn.content is string and not (turn.content.startswith('<tool_response>') and turn.content.endswith('</tool_response>')) %}
        {%- set state.searching = false %}
        {%- set state.last_user = position %}
    {%- endif %}
{%- endfor %}
{%- for turn in messages %}
    {%- set body = turn.content if turn.content is string else '' %}
    {%- if turn.role != 'assistant' %}
        {{- '<|im_start|>' + turn.role + '\n' + body + '<|im_end|>\n' }}
        {%- continue %}
    {%- endif %}
    {%- set reasoning = '' %}
    {%- if turn.reasoning_content is string %}
        {%- set reasoning = turn.reasoning_content %}
    {%- elif '</think>' in body %}
        {%- set reasoning = body.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- set body = body.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {{- '<|im_start|>assistant\n' }}
    {%- if loop.index0 > state.last_user and (loop.last or reasoning) %}
        {{- '<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + body.lstrip('\n') }}
    {%- else %}
        {{- body }}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
""".strip()

R1_DISTILL = r"""
{%- if add_generation_prompt is not defined %}{% set add_generation_prompt = false %}{% endif -%}
{%- set seen = namespace(system='') -%}
{%- for turn in messages -%}
    {%- if turn['role'] == 'system' -%}{%- set seen.system = turn['content'] -%}{%- endif -%}
{%- endfor -%}
{{- bos_token -}}{{- seen.system -}}
{%- for turn in messages -%}
    {%- if turn['role'] == 'user' -%}
        {{- '<｜User｜>' + turn['content'] -}}
    {%- elif turn['role'] == 'assistant' and turn['content'] is not none -%}
        {%- set body = turn['content'] -%}
        {%- if '</think>' in body -%}{%- set body = body.split('</think>')[-1] -%}{%- endif -%}
        {{- '<｜Assistant｜>' + body + eos_token -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<｜Assistant｜><think>\n' -}}{%- endif -%}
""".strip()

# The same, keeping the reasoning: the form to fine-tune with, since the one above deletes it.
R1_DISTILL_SFT = R1_DISTILL.replace(
    "{%- if '</think>' in body -%}{%- set body = body.split('</think>')[-1] -%}{%- endif -%}",
    "{%- if turn.reasoning_content is string -%}{%- set body = '<think>\\n' + turn.reasoning_content + '\\n</think>\\n\\n' + body -%}{%- endif -%}",
)
assert R1_DISTILL_SFT != R1_DISTILL

STYLES = {
    "qwen2.5": (QWEN25, "", "<|im_end|>"),
    "qwen3": (QWEN3, "", "<|im_end|>"),
    "r1-distill": (R1_DISTILL, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "r1-distill-sft": (R1_DISTILL_SFT, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, reasoning=None):
    message = {"role": "assistant", "content": content}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    return message


INLINE = "<think>\n2 + 2 = 4\n</think>\n\n4"
CONVERSATIONS = {
    "prompt": [user("What is 2 + 2?")],
    "system_prompt": [{"role": "system", "content": "Be brief."}, user("What is 2 + 2?")],
    "plain_reply": [user("What is 2 + 2?"), assistant("4")],
    "inline_reasoning": [user("What is 2 + 2?"), assistant(INLINE)],
    "reasoning_field": [user("What is 2 + 2?"), assistant("4", "2 + 2 = 4")],
    "two_turns": [user("What is 2 + 2?"), assistant(INLINE), user("And 3 + 3?"), assistant("6", "3 + 3 = 6")],
    "awkward_text": [user("  \"quoted\" & <b>\n\nl'été – 数学 \\n"), assistant("it's {{ fine }}\n")],
}


def main() -> None:
    ROOT.mkdir(parents=True, exist_ok=True)
    cases = []
    for style, (template, bos, eos) in STYLES.items():
        # No newline at the end: it would be part of the rendering.
        (ROOT / f"{style}.jinja").write_text(template)
        for name, messages in CONVERSATIONS.items():
            ends_with_user = messages[-1]["role"] == "user"
            for enable_thinking in [None, True, False] if ends_with_user else [None]:
                extra = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
                rendered, _ = render_jinja_template(
                    [messages], chat_template=template, add_generation_prompt=ends_with_user, bos_token=bos, eos_token=eos, **extra
                )
                cases.append(
                    {
                        "style": style,
                        "name": name,
                        "bos_token": bos,
                        "eos_token": eos,
                        "messages": messages,
                        "add_generation_prompt": ends_with_user,
                        "enable_thinking": enable_thinking,
                        "expected": rendered[0],
                    }
                )
    tiny_tokenizer.write_json(ROOT / "cases.json", cases)
    print(f"{len(cases)} renderings of {len(STYLES)} templates")


if __name__ == "__main__":
    main()
