"""Every dialect in front of every provider, by the official SDKs. Argument: the gateway's URL.

Prints a table of dialects, providers and what was done; exits with 1 when a cell fails.
"""

import base64
import json
import sys
import traceback

import anthropic
import openai
import pydantic

from upstreams import PATCH, PNG, SCHEMA_ANSWER, TEXT, WEATHER

url = sys.argv[1]
oai = openai.OpenAI(base_url=url + "/v1", api_key="k", max_retries=0, timeout=20)
ant = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, timeout=20)
IMAGE = base64.b64encode(PNG).decode()
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/City"},
        "days": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"City": {"type": "string", "description": "a city"}},
}
EMPTY = {"type": "object", "properties": {}}
RESULTS = {"get_weather": "21 degrees", "now": "noon"}


class Chat:
    """OpenAI's chat completions."""

    name = "chat"

    def messages(self, text):
        return [{"role": "user", "content": text}]

    def ask(self, model, **more):
        more.setdefault("messages", self.messages("hi"))
        return oai.chat.completions.create(model=model, **more)

    def usage(self, usage):
        assert usage.total_tokens == 27 and usage.prompt_tokens == 20, usage

    def text(self, model):
        answer = self.ask(model)
        assert answer.choices[0].message.content == "".join(TEXT)
        assert answer.choices[0].finish_reason == "stop"
        self.usage(answer.usage)

    def stream(self, model):
        texts, reasons, usage = [], [], None
        chunks = list(self.ask(model, stream=True, stream_options={"include_usage": True}))
        assert chunks[0].choices[0].delta.role == "assistant"
        for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts.append(choice.delta.content or "")
                reasons.append(choice.finish_reason)
        assert "".join(texts) == "".join(TEXT), texts
        assert len([text for text in texts if text]) == len(TEXT)
        assert [reason for reason in reasons if reason] == ["stop"], reasons
        self.usage(usage)
        quiet = list(self.ask(model, stream=True))
        assert all(chunk.usage is None and chunk.choices for chunk in quiet if chunk.usage or not chunk.choices)

    TOOLS = [
        {"type": "function", "function": {"name": "get_weather", "description": "w", "parameters": PARAMETERS}},
        {"type": "function", "function": {"name": "now", "parameters": EMPTY}},
    ]

    def tools(self, model, stream=False):
        asked = self.messages("weather?")
        if stream:
            with oai.chat.completions.stream(model=model, messages=asked, tools=self.TOOLS) as events:
                answer = events.until_done().get_final_completion()
        else:
            answer = self.ask(model, messages=asked, tools=self.TOOLS)
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls" and choice.message.content is None, choice
        calls = choice.message.tool_calls
        assert [call.function.name for call in calls] == ["get_weather", "now"], calls
        assert json.loads(calls[0].function.arguments) == WEATHER
        assert json.loads(calls[1].function.arguments or "{}") == {}
        assert len({call.id for call in calls}) == 2
        asked.append(choice.message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in asked[-1]["tool_calls"]:
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        for call in calls:
            asked.append({"role": "tool", "tool_call_id": call.id, "content": RESULTS[call.function.name]})
        answer = self.ask(model, messages=asked, tools=self.TOOLS)
        assert answer.choices[0].message.content == "It is 21 degrees."

    def agent(self, model):
        """What users of the package send beside the usual."""
        class Answer(pydantic.BaseModel):
            city: str
            days: int

        provider = model.split("/")[0]
        parsed = oai.chat.completions.parse(
            model=f"{provider}/schema", messages=self.messages("hi"), response_format=Answer)
        assert parsed.choices[0].message.parsed == Answer(**json.loads(SCHEMA_ANSWER)), parsed
        more = {
            "logprobs": True, "top_logprobs": 2, "n": 1, "seed": 7, "service_tier": "auto", "store": False,
            "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"},
            "prediction": {"type": "content", "content": "x"}, "metadata": {"a": "b"}, "user": "u",
            "logit_bias": {"1": 2}, "verbosity": "low", "frequency_penalty": 0.5, "presence_penalty": 0.5,
            "parallel_tool_calls": False, "safety_identifier": "s", "extra_body": {"made_up": 1},
        }
        raw = oai.chat.completions.with_raw_response.create(
            model=f"{provider}/text", messages=[{"role": "user", "name": "ann", "content": "hi"}], **more)
        assert raw.parse().choices[0].message.content == "".join(TEXT)
        dropped = sorted(filter(None, raw.headers.get("x-neurohttp-dropped", "").split(",")))
        only_openai = ["audio", "logit_bias", "made_up", "messages.name", "modalities", "safety_identifier",
                       "service_tier", "store", "user", "verbosity"]
        expected = {
            "openai": [],
            "mistral": only_openai + ["logprobs"],
            "anthropic": only_openai + ["frequency_penalty", "logprobs", "metadata", "prediction",
                                        "presence_penalty", "seed"],
            "gemini": only_openai + ["metadata", "parallel_tool_calls", "prediction"],
            "ollama": only_openai + ["metadata", "parallel_tool_calls", "prediction"],
        }
        if provider == "anthropic":
            expected[provider].remove("user")
        assert dropped == sorted(expected[provider]), dropped

    GRAMMAR = {"syntax": "lark", "definition": "start: /.+/s"}

    def custom(self, model):
        format = {"type": "grammar", "grammar": self.GRAMMAR}
        tools = [{"type": "custom", "custom": {"name": "patch", "description": "edits", "format": format}}]
        choice = {"type": "custom", "custom": {"name": "patch"}}
        asked = self.messages("edit!")
        more = {"messages": asked, "tools": tools, "tool_choice": choice}
        call = self.ask(model, **more).choices[0].message.tool_calls[0]
        assert call.type == "custom" and call.custom.name == "patch" and call.custom.input == PATCH, call
        chunks = [chunk.choices[0] for chunk in self.ask(model, stream=True, **more)]
        deltas = [call for choice in chunks for call in choice.delta.tool_calls or []]
        assert deltas[0].type == "custom" and deltas[0].custom["name"] == "patch", deltas
        assert "".join(delta.custom["input"] for delta in deltas) == PATCH, deltas
        assert chunks[-1].finish_reason == "tool_calls"
        asked.append({"role": "assistant", "tool_calls": [call.model_dump(exclude_none=True)]})
        asked.append({"role": "tool", "tool_call_id": call.id, "content": "done"})
        assert self.ask(model, messages=asked, tools=tools).choices[0].message.content == "patched"

    def image(self, model):
        parts = [
            {"type": "text", "text": "what?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
        ]
        answer = self.ask(model, messages=[{"role": "user", "content": parts}])
        assert answer.choices[0].message.content == "I see it."

    def history(self, model):
        messages = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
        assert self.ask(model, messages=messages).choices[0].message.content == "four"

    def schema(self, model):
        form = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": PARAMETERS}}
        assert self.ask(model, response_format=form).choices[0].message.content == SCHEMA_ANSWER

    def errors(self, provider):
        errors(openai, lambda name, **more: self.ask(f"{provider}/{name}", **more))
        pieces = []
        try:
            for chunk in self.ask(f"{provider}/broken", stream=True):
                pieces += [choice.delta.content or "" for choice in chunk.choices]
                assert all(choice.finish_reason is None for choice in chunk.choices)
            raise AssertionError("the stream ended well")
        except openai.APIError as error:
            assert "the model broke" in error.message, error
        assert "".join(pieces) == "".join(TEXT[:2])


def errors(sdk, ask):
    for name, kind in [
        ("missing", sdk.NotFoundError),
        ("busy", sdk.RateLimitError),
        ("locked", sdk.InternalServerError),
        ("broken", sdk.InternalServerError),
    ]:
        try:
            ask(name)
            raise AssertionError(f"{name} went well")
        except sdk.APIStatusError as error:
            assert isinstance(error, kind), (name, error)
            if name == "missing":
                assert "there is no such model" in str(error), error
            if name == "busy":
                assert error.response.headers["retry-after"] == "7"
            if name == "locked":
                assert error.status_code == 502 and "sk-secret" not in str(error), error


class Responses(Chat):
    """OpenAI's responses."""

    name = "responses"

    def ask(self, model, **more):
        more.setdefault("input", "hi")
        return oai.responses.create(model=model, **more)

    def usage(self, usage):
        assert usage.total_tokens == 27 and usage.input_tokens == 20, usage

    def text(self, model):
        answer = self.ask(model)
        assert answer.output_text == "".join(TEXT) and answer.status == "completed"
        self.usage(answer.usage)

    def stream(self, model):
        texts, kinds, numbers = [], [], []
        for event in self.ask(model, stream=True):
            kinds.append(event.type)
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
        assert texts == TEXT, texts
        assert numbers == list(range(len(numbers)))
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
        assert event.response.output_text == "".join(TEXT)
        self.usage(event.response.usage)

    TOOLS = [
        {"type": "function", "name": "get_weather", "description": "w", "parameters": PARAMETERS, "strict": True},
        {"type": "function", "name": "now", "parameters": EMPTY, "strict": False},
    ]

    def tools(self, model, stream=False):
        asked = [{"role": "user", "content": "weather?"}]
        if stream:
            with oai.responses.stream(model=model, input=asked, tools=self.TOOLS) as events:
                answer = events.until_done().get_final_response()
        else:
            answer = self.ask(model, input=asked, tools=self.TOOLS)
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [call.name for call in calls] == ["get_weather", "now"], answer
        assert json.loads(calls[0].arguments) == WEATHER and calls[1].arguments == "{}"
        for item in answer.output:
            item = item.model_dump(exclude_none=True)
            item.pop("parsed_arguments", None)
            asked.append(item)
        for call in calls:
            asked.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[call.name]})
        assert self.ask(model, input=asked, tools=self.TOOLS).output_text == "It is 21 degrees."

    def agent(self, model):
        """What Codex sends."""
        def function(name, parameters):
            return {"type": "function", "name": name, "description": "d", "strict": False, "parameters": parameters}

        tools = [
            function("get_weather", PARAMETERS),
            {"type": "namespace", "name": "mcp__clock", "description": "time", "tools": [function("now", EMPTY)]},
            {"type": "web_search", "external_web_access": False},
            {"type": "local_shell"},
        ]
        asked = [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
        ]
        more = {
            "model": model, "instructions": "You are Codex.", "tools": tools, "tool_choice": "auto",
            "parallel_tool_calls": True, "reasoning": {"effort": "medium", "summary": "auto"},
            "store": False, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
            "text": {"verbosity": "low"},
        }
        raw = oai.responses.with_raw_response.create(
            input=asked, stream=True, extra_headers={"originator": "codex_cli_rs", "session_id": "s"}, **more)
        dropped = raw.headers.get("x-neurohttp-dropped").split(",")
        assert "tools" in dropped and "prompt_cache_key" in dropped or "mistral" in model, dropped
        for event in raw.parse():
            if event.type == "response.output_item.done":
                asked.append(event.item.model_dump(exclude_none=True))
        assert event.type == "response.completed", event
        calls = [item for item in event.response.output if item.type == "function_call"]
        assert [(call.namespace, call.name) for call in calls] == [(None, "get_weather"), ("mcp__clock", "now")], calls
        for call in calls:
            asked.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[call.name]})
        asked.append({"type": "local_shell_call", "id": "l", "call_id": "l", "status": "completed",
                      "action": {"type": "exec", "command": ["ls"], "env": {}}})
        raw = oai.responses.with_raw_response.create(input=asked, **more)
        assert raw.parse().output_text == "It is 21 degrees."
        assert "local_shell_call" in raw.headers["x-neurohttp-dropped"].split(","), raw.headers

    def custom(self, model):
        format = {"type": "grammar", **self.GRAMMAR}
        tools = [{"type": "custom", "name": "patch", "description": "edits", "format": format}]
        asked = [{"role": "user", "content": "edit!"}]
        more = {"input": asked, "tools": tools, "tool_choice": {"type": "custom", "name": "patch"}}
        answer = self.ask(model, **more)
        call = next(item for item in answer.output if item.type == "custom_tool_call")
        assert call.name == "patch" and call.input == PATCH, call
        pieces, kinds = [], []
        for event in self.ask(model, stream=True, **more):
            kinds.append(event.type)
            if event.type == "response.custom_tool_call_input.delta":
                pieces.append(event.delta)
            if event.type == "response.custom_tool_call_input.done":
                assert event.input == PATCH, event
        assert "".join(pieces) == PATCH and "response.custom_tool_call_input.done" in kinds, kinds
        assert event.response.output[-1].input == PATCH, event
        asked += [item.model_dump(exclude_none=True) for item in answer.output]
        asked.append({"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"})
        assert self.ask(model, input=asked, tools=tools).output_text == "patched"

    def image(self, model):
        parts = [
            {"type": "input_text", "text": "what?"},
            {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{IMAGE}"},
        ]
        answer = self.ask(model, input=[{"role": "user", "content": parts}])
        assert answer.output_text == "I see it."

    def history(self, model):
        messages = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
        assert self.ask(model, instructions="be brief", input=messages).output_text == "four"

    def schema(self, model):
        form = {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": PARAMETERS}}
        assert self.ask(model, text=form).output_text == SCHEMA_ANSWER

    def errors(self, provider):
        errors(openai, lambda name, **more: self.ask(f"{provider}/{name}", **more))
        kinds = [event.type for event in self.ask(f"{provider}/broken", stream=True)]
        assert "error" in kinds and kinds[-1] == "response.failed", kinds
        try:
            self.ask(f"{provider}/text", previous_response_id="resp_1")
            raise AssertionError("state was taken")
        except openai.BadRequestError as error:
            assert error.param == "previous_response_id", error


class Messages(Chat):
    """Anthropic's messages."""

    name = "messages"

    def ask(self, model, **more):
        more.setdefault("messages", self.messages("hi"))
        return ant.messages.create(model=model, max_tokens=1000, **more)

    def usage(self, usage, provider):
        read = usage.input_tokens + (usage.cache_read_input_tokens or 0)
        assert read == 20 and usage.output_tokens == 7, usage
        # Ollama tells of no cache.
        assert usage.cache_read_input_tokens == (0 if provider == "ollama" else 4), usage

    def text(self, model):
        answer = self.ask(model)
        assert answer.content[0].text == "".join(TEXT) and answer.stop_reason == "end_turn"
        self.usage(answer.usage, model.split("/")[0])

    def stream(self, model):
        with ant.messages.stream(model=model, max_tokens=10, messages=self.messages("hi")) as events:
            assert list(events.text_stream) == TEXT
            answer = events.get_final_message()
        assert answer.content[0].text == "".join(TEXT) and answer.stop_reason == "end_turn"
        self.usage(answer.usage, model.split("/")[0])

    TOOLS = [
        {"name": "get_weather", "description": "w", "input_schema": PARAMETERS},
        {"name": "now", "input_schema": EMPTY},
    ]

    def tools(self, model, stream=False):
        asked = self.messages("weather?")
        more = {"model": model, "max_tokens": 1000, "messages": asked, "tools": self.TOOLS}
        if stream:
            with ant.messages.stream(**more) as events:
                answer = events.get_final_message()
        else:
            answer = ant.messages.create(**more)
        assert answer.stop_reason == "tool_use", answer
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert [call.name for call in calls] == ["get_weather", "now"], calls
        assert calls[0].input == WEATHER and calls[1].input == {}, calls
        asked.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in answer.content]})
        asked.append({
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": RESULTS[call.name]} for call in calls
            ],
        })
        answer = self.ask(model, messages=asked, tools=self.TOOLS)
        assert answer.content[0].text == "It is 21 degrees."

    custom = None

    def agent(self, model):
        """What Claude Code sends."""
        cached = {"cache_control": {"type": "ephemeral"}}
        tools = [{**tool, **cached} for tool in self.TOOLS]
        system = [{"type": "text", "text": "You are Claude Code.", **cached}, {"type": "text", "text": "be brief"}]
        messages = [
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder>x</system-reminder>"},
                                         {"type": "text", "text": "weather?", **cached}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": WEATHER},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "21 degrees"}]},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "noon", "is_error": False},
                {"type": "text", "text": "go on", **cached}]},
        ]
        with ant.beta.messages.stream(
            model=model, max_tokens=32000, system=system, messages=messages, tools=tools,
            thinking={"type": "enabled", "budget_tokens": 31999},
            metadata={"user_id": "user_1_account__session_2"},
            betas=["claude-code-20250219", "interleaved-thinking-2025-05-14", "fine-grained-tool-streaming-2025-05-14"],
            extra_headers={"x-app": "cli", "x-stainless-helper-method": "stream"},
        ) as events:
            answer = events.get_final_message()
            dropped = events.response.headers.get("x-neurohttp-dropped", "").split(",")
        assert answer.content[-1].text == "It is 21 degrees." and answer.stop_reason == "end_turn", answer
        expected = {
            "openai": ["cache_control", "thinking"],
            "mistral": ["cache_control", "thinking", "user"],
            "anthropic": [""],
            # Whether a model of this name can think it does not know.
            "gemini": ["cache_control", "reasoning_effort", "thinking", "user"],
            "ollama": ["cache_control", "user"],
        }
        assert sorted(dropped) == expected[model.split("/")[0]], dropped

    def count(self, model):
        def tokens(text, **more):
            asked = {"model": model, "messages": self.messages(text), **more}
            return ant.messages.count_tokens(**asked).input_tokens

        if model.startswith("anthropic"):
            assert tokens("hi") == 4321
            return
        # Two tokens of text, four of the message, three of the answer's beginning.
        assert tokens("hello world") == 9
        assert tokens("hello world", system="be brief") == 9 + 2 + 4
        assert tokens("hello world", tools=self.TOOLS) > 30
        thinking = {"type": "enabled", "budget_tokens": 1024}
        assert tokens("hello world", thinking=thinking, tool_choice={"type": "auto"}) == 9

    def image(self, model):
        source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
        parts = [{"type": "text", "text": "what?"}, {"type": "image", "source": source}]
        answer = self.ask(model, messages=[{"role": "user", "content": parts}])
        assert answer.content[0].text == "I see it."

    def history(self, model):
        messages = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
        system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
        if model.startswith("anthropic"):
            system = "be brief"
        assert self.ask(model, system=system, messages=messages).content[0].text == "four"

    def schema(self, model):
        form = {"format": {"type": "json_schema", "schema": PARAMETERS}}
        answer = self.ask(model, output_config=form)
        assert answer.content[0].text == SCHEMA_ANSWER

    def errors(self, provider):
        errors(anthropic, lambda name, **more: self.ask(f"{provider}/{name}", **more))
        texts = []
        try:
            with ant.messages.stream(
                model=f"{provider}/broken", max_tokens=10, messages=self.messages("hi")
            ) as events:
                for text in events.text_stream:
                    texts.append(text)
            raise AssertionError("the stream ended well")
        except anthropic.APIError as error:
            assert "the model broke" in str(error), error
        assert texts == TEXT[:2]


COLUMNS = ["openai", "mistral", "anthropic", "gemini", "ollama"]
ROWS = ["text", "stream", "tools", "tools streamed", "custom", "image", "history", "schema", "agent", "count", "errors"]


def cell(dialect, provider, what):
    # OpenAI itself serves its responses, and they would only pass through.
    if dialect.name == "responses" and provider == "openai":
        provider = "compatible"
    if what == "tools streamed":
        dialect.tools(f"{provider}/tools", stream=True)
    elif what == "errors":
        dialect.errors(provider)
    else:
        model = {"stream": "text", "agent": "tools"}.get(what, what)
        getattr(dialect, what)(f"{provider}/{model}")


failed = []
print(f"{'':26}" + "".join(f"{name:>11}" for name in COLUMNS))
for dialect in (Chat(), Responses(), Messages()):
    for what in ROWS:
        # Not every dialect has everything.
        if what != "tools streamed" and not getattr(dialect, what, None):
            continue
        marks = []
        for provider in COLUMNS:
            try:
                cell(dialect, provider, what)
                marks.append("ok")
            except Exception:
                failed.append((dialect.name, provider, what, traceback.format_exc(limit=-3)))
                marks.append("FAILED")
        print(f"{dialect.name:10}{what:16}" + "".join(f"{mark:>11}" for mark in marks), flush=True)
for dialect, provider, what, trace in failed:
    print(f"\n--- {dialect} × {provider}: {what}\n{trace}")
if failed:
    sys.exit(1)
print("all well")
