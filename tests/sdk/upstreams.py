"""Providers to test against: each speaks one provider's format, written from its documents.

A provider checks what it is sent as the real one does (mandatory members, alternating roles,
ids, unknown members) and answers by the name of the model: `text`, `tools`, `custom`, `image`,
`history`, `schema`, `missing`, `busy`, `locked`, `broken`. Streams leave in pieces of seven bytes.
"""

import base64
import http.server
import json
import re
import threading
import time

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TEXT = ["Hello ", "wörld ", "😀", "!\n"]
WEATHER = {"city": "Paris", "days": 2}
PATCH = '*** Begin\n+"é\\n😀"\t\n'
SCHEMA_ANSWER = '{"city": "Paris", "days": 2}'


class Refused(Exception):
    """The request is not in the provider's format."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def need(condition, message, status=400):
    if not condition:
        raise Refused(status, message)


class Asked:
    """What a request amounts to, whatever its format."""

    def __init__(self):
        self.model = ""
        self.stream = False
        self.system = ""
        self.turns = []  # (role, text)
        self.images = []  # (media type, bytes)
        self.tools = []  # names
        self.custom = False  # whether they are OpenAI's custom tools
        self.results = {}  # tool name -> text
        self.schema = None
        self.credential = None
        self.counted = None  # tokens, where only their count is asked for


class Answer:
    """What is answered, whatever the format."""

    def __init__(self, texts=(), calls=(), reason="stop", broken=False):
        self.texts, self.calls, self.reason, self.broken = list(texts), list(calls), reason, broken
        self.prompt, self.completion, self.cached = 20, 7, 4


def think(asked):
    """The model: answers by its name."""
    name = asked.model.split("/")[-1]
    if name == "missing":
        raise Refused(404, "there is no such model")
    if name == "busy":
        raise Refused(429, "slow down")
    if name == "locked":
        raise Refused(401, "bad key sk-secret")
    if name == "broken":
        return Answer(TEXT[:2], broken=True)
    if name == "tools":
        # Codex has it in a namespace.
        now = "mcp__clock__now" if "mcp__clock__now" in asked.tools else "now"
        if not asked.results:
            need(set(asked.tools) == {"get_weather", now}, f"tools {asked.tools}")
            return Answer((), [("get_weather", WEATHER), (now, {})], "tools")
        need(asked.results.get("get_weather") == "21 degrees", f"results {asked.results}")
        # Mistral wants no user behind a tool: what follows stands in the last result.
        need(asked.results.get(now) in ("noon", "noon\n\ngo on"), f"results {asked.results}")
        return Answer(["It is ", "21 degrees."])
    if name == "custom":
        if not asked.results:
            need(asked.tools == ["patch"], f"tools {asked.tools}")
            return Answer((), [("patch", {"input": PATCH})], "tools")
        need(asked.results == {"patch": "done"}, f"results {asked.results}")
        return Answer(["patched"])
    if name == "image":
        need(asked.images == [("image/png", PNG)], "the image did not arrive")
        return Answer(["I see it."])
    if name == "history":
        need(asked.system == "be brief", f"system {asked.system!r}")
        want = [("user", "one"), ("assistant", "two"), ("user", "three")]
        need(asked.turns == want, f"turns {asked.turns}")
        return Answer(["four"])
    if name == "schema":
        need(asked.schema is not None, "no schema")
        text = json.dumps(asked.schema)
        need("city" in text and "days" in text, f"schema {text}")
        return Answer([SCHEMA_ANSWER])
    return Answer(TEXT)


def data_url(url):
    match = re.fullmatch(r"data:([^;]+);base64,(.*)", url)
    need(match, "an image that is no data URL")
    return match[1], base64.b64decode(match[2])


def sse(data, event=None):
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {event}\n" if event else "") + f"data: {text}\n\n"


class Provider:
    """One format."""

    name = ""
    kind = None
    base = ""
    content_type = "text/event-stream"

    def credential(self, headers):
        return (headers.get("authorization") or "").removeprefix("Bearer ") or None

    def error(self, status, message):
        return {"error": {"message": message, "type": "t", "param": None, "code": "c"}}


class OpenAi(Provider):
    name = "openai"
    base = "/v1"
    strict = False
    custom = True  # knows custom tools
    known = None

    def parse(self, path, headers, body):
        need(path == "/v1/chat/completions", f"path {path}", 404)
        asked = Asked()
        asked.model, asked.stream = body["model"], body.get("stream", False)
        if self.known:
            unknown = set(body) - self.known
            need(not unknown, f"extra inputs are not permitted: {sorted(unknown)}", 422)
        open_calls = {}
        for message in body["messages"]:
            role, content = message["role"], message.get("content")
            if role == "tool":
                need(message["tool_call_id"] in open_calls, "a result without a call")
                asked.results[open_calls[message["tool_call_id"]]] = content
                continue
            texts = []
            for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
                if part["type"] == "text":
                    texts.append(part["text"] or "")
                elif part["type"] == "image_url":
                    asked.images.append(data_url(part["image_url"]["url"]))
                else:
                    need(False, f"part {part['type']}")
            for call in message.get("tool_calls", []):
                if self.strict:
                    need(re.fullmatch("[a-zA-Z0-9]{9}", call["id"]), f"Tool call id was {call['id']}")
                if call["type"] == "custom":
                    need(self.custom and call["custom"]["input"] == PATCH, "custom")
                else:
                    json.loads(call["function"]["arguments"])
                open_calls[call["id"]] = call[call["type"]]["name"]
            if role in ("system", "developer"):
                asked.system += "".join(texts)
            else:
                asked.turns.append((role, "".join(texts)))
        for tool in body.get("tools", []):
            kind = tool["type"]
            need(kind == "function" or kind == "custom" and self.custom, "tool")
            asked.custom = kind == "custom"
            asked.tools.append(tool[kind]["name"])
        form = body.get("response_format", {})
        if form.get("type") == "json_schema":
            asked.schema = form["json_schema"]["schema"]
        asked.usage = self.strict or body.get("stream_options", {}).get("include_usage")
        return asked

    def usage(self, answer):
        return {
            "prompt_tokens": answer.prompt,
            "completion_tokens": answer.completion,
            "total_tokens": answer.prompt + answer.completion,
            "prompt_tokens_details": {"cached_tokens": answer.cached},
        }

    def call_id(self, index):
        return f"call_{index}abcdefg"

    def reason(self, answer):
        return {"stop": "stop", "tools": "tool_calls"}[answer.reason]

    def call(self, asked, name, text):
        if asked.custom:
            return {"type": "custom", "custom": {"name": name, "input": json.loads(text)["input"] if text else ""}}
        return {"type": "function", "function": {"name": name, "arguments": text}}

    def whole(self, asked, answer):
        calls = [
            {"id": self.call_id(i), **self.call(asked, name, json.dumps(arguments))}
            for i, (name, arguments) in enumerate(answer.calls)
        ]
        message = {"role": "assistant", "content": "".join(answer.texts) or None}
        if calls:
            message["tool_calls"] = calls
        return {
            "id": "chatcmpl-up",
            "object": "chat.completion",
            "created": 1,
            "model": asked.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.reason(answer)}],
            "usage": self.usage(answer),
        }

    def stream(self, asked, answer):
        def chunk(delta, reason=None, **more):
            choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
            return sse({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1,
                        "model": asked.model, "choices": choices, **more})

        yield ": ping\n\n"
        yield chunk({"role": "assistant", "content": None if answer.calls else ""})
        for text in answer.texts:
            yield chunk({"content": text})
        if answer.broken:
            yield sse(self.error(500, "the model broke"))
            return
        for i, (name, arguments) in enumerate(answer.calls):
            yield chunk({"tool_calls": [{"index": i, "id": self.call_id(i), **self.call(asked, name, "")}]})
            if asked.custom:
                for piece in (PATCH[:5], PATCH[5:]):
                    yield chunk({"tool_calls": [{"index": i, "custom": {"input": piece}}]})
                continue
            text = json.dumps(arguments)
            # Compatibles leave empty arguments out; OpenAI does not.
            for piece in (text[:3], text[3:]) if arguments or not self.kind else ():
                yield chunk({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
        yield chunk({}, self.reason(answer))
        if asked.usage:
            yield sse({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1,
                       "model": asked.model, "choices": [], "usage": self.usage(answer)})
        yield sse("[DONE]")


class Mistral(OpenAi):
    name = "mistral"
    strict = True
    custom = False
    known = {
        "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed",
        "metadata", "response_format", "tools", "tool_choice", "presence_penalty",
        "frequency_penalty", "n", "prediction", "parallel_tool_calls", "reasoning_effort",
        "prompt_mode", "safe_prompt", "top_k", "logprobs", "top_logprobs", "prompt_cache_key",
    }

    def call_id(self, index):
        return f"aB3dE6g{index}Z"

    def error(self, status, message):
        return {"object": "error", "message": message, "type": "t", "param": None, "code": "1"}

    def stream(self, asked, answer):
        # The last chunk holds reason and usage, and calls come whole.
        calls = [
            {"id": self.call_id(i), "function": {"name": name, "arguments": json.dumps(arguments)},
             "index": i}
            for i, (name, arguments) in enumerate(answer.calls)
        ]
        head = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": asked.model}
        pieces = [{"role": "assistant", "content": ""}, *({"content": t} for t in answer.texts)]
        for delta in pieces:
            yield sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        if answer.broken:
            yield sse(self.error(500, "the model broke"))
            return
        delta = {"content": "", "tool_calls": calls} if calls else {"content": ""}
        last = {"index": 0, "delta": delta, "finish_reason": self.reason(answer)}
        yield sse({**head, "choices": [last], "usage": self.usage(answer)})
        yield sse("[DONE]")


class Anthropic(Provider):
    name = "anthropic"
    base = "/v1"

    def credential(self, headers):
        need(not headers.get("authorization"), "two credentials", 401)
        return headers.get("x-api-key")

    def error(self, status, message):
        return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}

    def parse(self, path, headers, body):
        need(headers.get("anthropic-version"), "anthropic-version: header is required")
        if path == "/v1/messages/count_tokens":
            need("max_tokens" not in body, "max_tokens: extra inputs are not permitted")
            need(body["messages"], "messages: at least one message is required")
            asked = Asked()
            asked.counted = 4321
            return asked
        need(path == "/v1/messages", f"path {path}", 404)
        need(isinstance(body.get("max_tokens"), int), "max_tokens: field required")
        known = {"model", "max_tokens", "messages", "system", "stream", "stop_sequences", "tools",
                 "tool_choice", "temperature", "top_p", "top_k", "thinking", "metadata",
                 "output_config"}
        need(set(body) <= known, f"extra inputs are not permitted: {sorted(set(body) - known)}")
        asked = Asked()
        asked.model, asked.stream = body["model"], body.get("stream", False)
        system = body.get("system", "")
        asked.system = system if isinstance(system, str) else "".join(b["text"] for b in system)
        waiting, expected = {}, "user"
        for message in body["messages"]:
            need(message["role"] == expected, "roles must alternate")
            expected = "assistant" if expected == "user" else "user"
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            need(content, "content must not be empty")
            texts, others = [], False
            for block in content:
                kind = block["type"]
                if kind == "tool_result":
                    need(not others, "tool_result blocks must come first")
                    need(block["tool_use_id"] in waiting, "unexpected tool_use_id")
                    inner = block.get("content", "")
                    text = inner if isinstance(inner, str) else "".join(b["text"] for b in inner)
                    asked.results[waiting.pop(block["tool_use_id"])] = text
                    continue
                others = True
                if kind == "text":
                    need(block["text"].strip(), "text content blocks must be non-empty")
                    texts.append(block["text"])
                elif kind == "image":
                    source = block["source"]
                    asked.images.append((source["media_type"], base64.b64decode(source["data"])))
                elif kind == "tool_use":
                    need(re.fullmatch("[a-zA-Z0-9_-]+", block["id"]), "id")
                    need(isinstance(block["input"], dict), "input must be an object")
                    waiting[block["id"]] = block["name"]
            need(message["role"] == "assistant" or not waiting, "tool_use without tool_result")
            if texts:
                asked.turns.append((message["role"], "".join(texts)))
        for tool in body.get("tools", []):
            need(tool["input_schema"]["type"] == "object", "input_schema.type")
            asked.tools.append(tool["name"])
        form = (body.get("output_config") or {}).get("format")
        if form:
            need(form["schema"].get("additionalProperties") is False, "additionalProperties")
            asked.schema = form["schema"]
        return asked

    def usage(self, answer):
        return {
            "input_tokens": answer.prompt - answer.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": answer.cached,
            "output_tokens": answer.completion,
        }

    def reason(self, answer):
        return {"stop": "end_turn", "tools": "tool_use"}[answer.reason]

    def message(self, asked, answer, content, reason):
        return {"id": "msg_up", "type": "message", "role": "assistant", "model": asked.model,
                "content": content, "stop_reason": reason, "stop_sequence": None,
                "usage": self.usage(answer)}

    def whole(self, asked, answer):
        content = [{"type": "text", "text": "".join(answer.texts)}] if answer.texts else []
        for i, (name, arguments) in enumerate(answer.calls):
            content.append({"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments})
        return self.message(asked, answer, content, self.reason(answer))

    def stream(self, asked, answer):
        def event(kind, **members):
            return sse({"type": kind, **members}, kind)

        yield event("message_start", message=self.message(asked, answer, [], None))
        yield event("ping")
        index = 0
        if answer.texts:
            yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            for text in answer.texts:
                yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
            if answer.broken:
                yield event("error", error={"type": "overloaded_error", "message": "the model broke"})
                return
            yield event("content_block_stop", index=0)
            index = 1
        for i, (name, arguments) in enumerate(answer.calls):
            block = {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": {}}
            yield event("content_block_start", index=index, content_block=block)
            text = json.dumps(arguments)
            for piece in ("", text[:3], text[3:]) if arguments else ("",):
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield event("content_block_delta", index=index, delta=delta)
            yield event("content_block_stop", index=index)
            index += 1
        yield event("message_delta", delta={"stop_reason": self.reason(answer), "stop_sequence": None},
                    usage={"output_tokens": answer.completion})
        yield event("message_stop")


class Gemini(Provider):
    name = "gemini"
    base = "/v1beta"

    def credential(self, headers):
        return headers.get("x-goog-api-key")

    def error(self, status, message):
        return {"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}

    def parse(self, path, headers, body):
        match = re.fullmatch(r"/v1beta/models/([^:]+):(generateContent|streamGenerateContent\?alt=sse)", path)
        need(match, f"path {path}", 404)
        asked = Asked()
        asked.model, asked.stream = match[1], match[2].startswith("stream")
        known = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
        need(set(body) <= known, f"Unknown name: {sorted(set(body) - known)}")
        asked.system = "".join(p["text"] for p in body.get("systemInstruction", {}).get("parts", []))
        called = []
        for index, content in enumerate(body["contents"]):
            need(content["role"] in ("user", "model"), "role")
            need(index or content["role"] == "user", "the first turn is the user's")
            texts, answered = [], []
            for part in content["parts"]:
                if "text" in part:
                    need(part["text"], "a part must have data")
                    texts.append(part["text"])
                elif "inlineData" in part:
                    data = part["inlineData"]
                    asked.images.append((data["mimeType"], base64.b64decode(data["data"])))
                elif "functionCall" in part:
                    need(isinstance(part["functionCall"]["args"], dict), "args")
                    called.append(part["functionCall"]["name"])
                elif "functionResponse" in part:
                    response = part["functionResponse"]
                    need(isinstance(response["response"], dict), "response must be an object")
                    answered.append(response["name"])
                    asked.results[response["name"]] = response["response"].get("result")
            if answered:
                need(answered == called, f"function responses {answered} to {called}")
                called = []
            if texts:
                asked.turns.append(({"model": "assistant"}.get(content["role"], "user"), "".join(texts)))
        for tool in body.get("tools", []):
            for function in tool["functionDeclarations"]:
                asked.tools.append(function["name"])
                self.schema(function.get("parameters"))
        config = body.get("generationConfig", {})
        if "responseSchema" in config:
            need(config["responseMimeType"] == "application/json", "responseMimeType")
            self.schema(config["responseSchema"])
            asked.schema = config["responseSchema"]
        return asked

    def schema(self, node):
        if node is None:
            return
        known = {"type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems",
                 "properties", "required", "minProperties", "maxProperties", "minLength", "maxLength",
                 "pattern", "example", "anyOf", "propertyOrdering", "default", "items", "minimum",
                 "maximum"}
        need(set(node) <= known, f"Unknown name {sorted(set(node) - known)}: Cannot find field.")
        for inner in node.get("properties", {}).values():
            self.schema(inner)
        for inner in node.get("anyOf", []):
            self.schema(inner)
        self.schema(node.get("items"))

    def parts(self, answer):
        parts = [{"text": "".join(answer.texts)}] if answer.texts else []
        for i, (name, arguments) in enumerate(answer.calls):
            call = {"name": name, "args": arguments} if arguments else {"name": name}
            parts.append({"functionCall": call, **({} if i else {"thoughtSignature": "U0lH"})})
        return parts

    def chunk(self, asked, answer, parts, last):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        return {
            "candidates": [candidate],
            "usageMetadata": {
                "promptTokenCount": answer.prompt, "candidatesTokenCount": answer.completion,
                "cachedContentTokenCount": answer.cached,
                "totalTokenCount": answer.prompt + answer.completion,
            },
            "modelVersion": asked.model,
            "responseId": f"r{time.monotonic_ns()}",
        }

    def whole(self, asked, answer):
        return self.chunk(asked, answer, self.parts(answer), True)

    def stream(self, asked, answer):
        for text in answer.texts:
            yield sse(self.chunk(asked, answer, [{"text": text}], False))
        if answer.broken:
            yield sse(self.error(503, "the model broke"))
            return
        calls = [part for part in self.parts(answer) if "functionCall" in part]
        if calls:
            yield sse(self.chunk(asked, answer, calls, False))
        yield sse(self.chunk(asked, answer, [{"text": ""}], True))


class Ollama(Provider):
    name = "ollama"
    base = ""
    content_type = "application/x-ndjson"

    def error(self, status, message):
        return {"error": message}

    def parse(self, path, headers, body):
        need(path == "/api/chat", f"path {path}", 404)
        asked = Asked()
        asked.model, asked.stream = body["model"], body.get("stream", True)
        for message in body["messages"]:
            role = message["role"]
            need(isinstance(message["content"], str), "content must be a string")
            if role == "tool":
                asked.results[message["tool_name"]] = message["content"]
                continue
            for image in message.get("images", []):
                asked.images.append(("image/png", base64.b64decode(image)))
            for call in message.get("tool_calls", []):
                need(isinstance(call["function"]["arguments"], dict), "arguments must be an object")
            if role == "system":
                asked.system += message["content"]
            elif message["content"]:
                asked.turns.append((role, message["content"]))
        asked.tools = [tool["function"]["name"] for tool in body.get("tools", [])]
        if isinstance(body.get("format"), dict):
            asked.schema = body["format"]
        return asked

    def line(self, asked, message, last=None):
        line = {"model": asked.model, "created_at": f"2026-01-01T00:00:00.{time.monotonic_ns() % 10**9:09}Z",
                "message": {"role": "assistant", "content": "", **message}, "done": last is not None}
        if last is not None:
            line.update(done_reason="stop", prompt_eval_count=last.prompt, eval_count=last.completion)
        return line

    def calls(self, answer):
        return [{"function": {"name": n, "arguments": a}} for n, a in answer.calls]

    def whole(self, asked, answer):
        message = {"content": "".join(answer.texts)}
        if answer.calls:
            message["tool_calls"] = self.calls(answer)
        return self.line(asked, message, answer)

    def stream(self, asked, answer):
        for text in answer.texts:
            yield json.dumps(self.line(asked, {"content": text}), ensure_ascii=False) + "\n"
        if answer.broken:
            yield json.dumps(self.error(500, "the model broke")) + "\n"
            return
        for call in self.calls(answer):
            yield json.dumps(self.line(asked, {"tool_calls": [call]})) + "\n"
        yield json.dumps(self.line(asked, {}, answer)) + "\n"


class Compatible(OpenAi):
    """OpenAI's chat completions and nothing else of it."""

    name = "compatible"
    kind = "together"


PROVIDERS = [OpenAi, Compatible, Mistral, Anthropic, Gemini, Ollama]
KEY = "upstream-key"


def serve(provider):
    """Starts a provider on a free port; returns its base URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            try:
                need(provider.credential(self.headers) == KEY, "wrong credential", 401)
                asked = provider.parse(self.path, self.headers, json.loads(raw))
                answer = think(asked)
            except Refused as refused:
                body = provider.error(refused.status, str(refused))
                more = {"retry-after": "7"} if refused.status == 429 else {}
                self.answer(refused.status, json.dumps(body).encode(), more)
                return
            except Exception as error:  # a member that is not there, or of a wrong type
                body = provider.error(400, f"{type(error).__name__}: {error}")
                self.answer(400, json.dumps(body).encode(), {})
                return
            if asked.counted is not None:
                self.answer(200, json.dumps({"input_tokens": asked.counted}).encode(), {})
                return
            if not asked.stream:
                if answer.broken:
                    self.answer(500, json.dumps(provider.error(500, "the model broke")).encode(), {})
                else:
                    text = json.dumps(provider.whole(asked, answer), ensure_ascii=False)
                    self.answer(200, text.encode(), {})
                return
            self.send_response(200)
            self.send_header("content-type", provider.content_type)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            data = "".join(provider.stream(asked, answer)).encode()
            for at in range(0, len(data), 7):
                piece = data[at : at + 7]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def answer(self, status, body, more):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}{provider.base}"


if __name__ == "__main__":
    # Prints the configuration of a gateway in front of all of them, then serves until killed.
    for provider in (make() for make in PROVIDERS):
        url = serve(provider)
        print(f'[[provider]]\nname = "{provider.name}"\nkind = "{provider.kind or provider.name}"\n'
              f'base_url = "{url}"\napi_key = "{KEY}"')
    print("# ready", flush=True)
    threading.Event().wait()
