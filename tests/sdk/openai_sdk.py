"""What users of the openai package do, against our echo model. Arguments: base URL, API key."""

import asyncio
import sys

import openai

base_url, key = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=20)


def expect(error, call):
    """The call must fail with exactly this type of error, which is returned."""
    try:
        call()
    except error as caught:
        assert type(caught) is error, type(caught)
        return caught
    raise AssertionError(f"{error.__name__} was expected")


def user(text):
    return [{"role": "user", "content": text}]


def chat():
    answer = client.chat.completions.create(model="echo", messages=user("Hello, wörld"))
    choice = answer.choices[0]
    assert choice.message.content == "Hello, wörld", answer
    assert choice.message.role == "assistant" and choice.finish_reason == "stop"
    assert answer.model == "echo" and answer.object == "chat.completion"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    raw = client.chat.completions.with_raw_response.create(model="echo", messages=user("x"))
    assert raw.headers["x-request-id"] == raw.parse()._request_id


def parameters():
    answer = client.chat.completions.create(
        model="echo",
        messages=[{"role": "system", "content": "be brief"}, *user("all of them")],
        temperature=0.5,
        top_p=0.9,
        max_tokens=100,
        stop=["\n\n"],
        seed=7,
        user="someone",
        response_format={"type": "text"},
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    )
    assert answer.choices[0].message.content == "all of them"


def stream():
    pieces, usage, reasons = [], None, []
    with client.chat.completions.create(
        model="echo",
        messages=user("one two three four"),
        stream=True,
        stream_options={"include_usage": True},
    ) as chunks:
        for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                reasons.append(choice.finish_reason)
    assert "".join(pieces) == "one two three four", pieces
    assert len([piece for piece in pieces if piece]) > 1
    assert [reason for reason in reasons if reason] == ["stop"]
    assert usage.completion_tokens > 0


def leave_a_stream():
    with client.chat.completions.create(
        model="echo", messages=user("word " * 50000), stream=True
    ) as chunks:
        for chunk in chunks:
            break
    chat()


def models():
    assert "echo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("echo").id == "echo"


def errors():
    wrong = openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0)
    caught = expect(openai.AuthenticationError, lambda: wrong.models.list())
    assert caught.status_code == 401
    caught = expect(
        openai.NotFoundError,
        lambda: client.chat.completions.create(model="no-such-model", messages=user("x")),
    )
    assert caught.code == "model_not_found", caught
    expect(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    caught = expect(
        openai.BadRequestError, lambda: client.chat.completions.create(model="echo", messages=[])
    )
    assert caught.status_code == 400 and caught.type == "invalid_request_error"


async def many():
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as several:

        async def ask(number):
            text = f"question {number}"
            chunks = await several.chat.completions.create(
                model="echo", messages=user(text), stream=True
            )
            pieces = [c.choices[0].delta.content or "" async for c in chunks if c.choices]
            assert "".join(pieces) == text

        await asyncio.gather(*(ask(number) for number in range(50)))


chat()
parameters()
stream()
leave_a_stream()
models()
errors()
asyncio.run(many())
print("all well")
