"""The official OpenAI client against a running server.

    limbeck serve --model fixtures/student &
    python3 scripts/peers/serve_openai.py --base-url http://127.0.0.1:8000/v1

Needs requirements-serve.txt. Ends with 1 if anything is not as the client expects it.
"""

import argparse
import sys

import openai


def check(name, condition, found=""):
    print(("ok    " if condition else "FAIL  ") + name, found if not condition else "")
    return condition


def completions(client, model):
    whole = client.completions.create(
        model=model, prompt="Start with 12. Add 30.", max_tokens=24, temperature=0, seed=1
    )
    chunks = list(
        client.completions.create(
            model=model, prompt="Start with 12. Add 30.", max_tokens=24, temperature=0, seed=1,
            stream=True, stream_options={"include_usage": True},
        )
    )
    streamed = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    yield check("completion: has text", bool(whole.choices[0].text), whole)
    yield check("completion: stream equals whole", streamed == whole.choices[0].text, streamed)
    yield check("completion: usage in the last chunk", chunks[-1].usage == whole.usage, chunks[-1])
    echoed = client.completions.create(
        model=model, prompt="Start with 12.", max_tokens=1, temperature=0, echo=True, logprobs=1
    )
    tokens = echoed.choices[0].logprobs
    yield check("completion: echo", echoed.choices[0].text.startswith("Start with 12."))
    yield check("completion: first logprob is null", tokens.token_logprobs[0] is None)
    count = echoed.usage.prompt_tokens + echoed.usage.completion_tokens
    yield check("completion: a logprob a token", len(tokens.token_logprobs) == count, tokens)
    two = client.completions.create(model=model, prompt=["a", "b"], n=2, max_tokens=2, seed=1)
    yield check("completion: prompts times n", [c.index for c in two.choices] == [0, 1, 2, 3])


def chat(client, model):
    messages = [{"role": "user", "content": "Start with 12.\n#A add 30\nWhat is the result?"}]
    asked = {"model": model, "messages": messages, "temperature": 0, "max_completion_tokens": 300, "seed": 1}
    whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    message = whole.choices[0].message
    yield check("chat: role", message.role == "assistant")
    yield check("chat: both names of the chain", message.reasoning == message.reasoning_content)
    yield check("chat: no marks in the answer", "think>" not in (message.content or ""), message.content)
    entries = whole.choices[0].logprobs.content
    yield check("chat: greedy tokens are the likeliest",
                all(entry.logprob == max(top.logprob for top in entry.top_logprobs) for entry in entries))
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    content = "".join(delta.content or "" for delta in deltas)
    reasoning = "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)
    yield check("chat: streamed answer equals whole", content == message.content, content)
    yield check("chat: streamed chain equals whole", reasoning == (message.reasoning or ""), reasoning)
    counts = [(usage.prompt_tokens, usage.completion_tokens) for usage in (chunks[-1].usage, whole.usage)]
    yield check("chat: usage in the last chunk", counts[0] == counts[1], counts)
    stopped = client.chat.completions.create(**{**asked, "max_completion_tokens": 2})
    yield check("chat: limit", stopped.choices[0].finish_reason == "length")


def raises(kind, call):
    try:
        call()
    except kind:
        return True
    except openai.OpenAIError as error:
        print(type(error), error)
    return False


def errors(client, model):
    ask = client.chat.completions.create
    messages = [{"role": "user", "content": "x"}]
    yield check("error: unknown model", raises(openai.NotFoundError, lambda: ask(model="none", messages=messages)))
    yield check("error: bad temperature",
                raises(openai.BadRequestError, lambda: ask(model=model, messages=messages, temperature=9)))
    yield check("error: too long",
                raises(openai.BadRequestError, lambda: ask(model=model, messages=messages, max_tokens=10**7)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--api-key", default="none")
    arguments = parser.parse_args()
    client = openai.OpenAI(base_url=arguments.base_url, api_key=arguments.api_key, max_retries=0)
    models = [model.id for model in client.models.list()]
    print("models:", ", ".join(models))
    results = [*completions(client, models[0]), *chat(client, models[0]), *errors(client, models[0])]
    print(f"{sum(results)} of {len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
