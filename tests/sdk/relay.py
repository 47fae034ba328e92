"""What users of the openai package see of an upstream through the gateway.

Arguments: the program, a file for its configuration. The upstream runs in this process and
answers by the name of the model.
"""

import base64
import gzip
import http.server
import json
import re
import struct
import subprocess
import sys
import threading

import openai

program, config = sys.argv[1:]
KEY, UPSTREAM_KEY = "client-key", "sk-upstream"
VECTOR = [0.5, -0.25, 2.0]
PIECES = ["Hello ", "wörld ", "😀"]
seen = []


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value, **fields):
        body = json.dumps(value).encode()
        if fields.pop("zip", False):
            body = gzip.compress(body)
            fields["Content_Encoding"] = "gzip"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in fields.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status, message, code, **fields):
        error = {"message": message, "type": "invalid_request_error", "param": "model", "code": code}
        self.answer(status, {"error": error}, **fields)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen.append((self.path, asked))
        assert self.headers["Authorization"] == f"Bearer {UPSTREAM_KEY}", self.headers
        name = asked["model"]
        if name == "missing":
            self.fail(404, "The model `missing` does not exist", "model_not_found")
        elif name == "busy":
            self.fail(429, "Rate limit reached", "rate_limit_exceeded", Retry_After="7")
        elif name == "locked":
            self.fail(401, f"Incorrect API key provided: {UPSTREAM_KEY}", "invalid_api_key")
        elif name == "broken":
            self.fail(500, "The server had an error", "server_error")
        elif self.path == "/v1/embeddings":
            # The package asks for base64 and decodes it.
            assert asked["encoding_format"] == "base64", asked
            vector = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
            data = [{"object": "embedding", "index": i, "embedding": vector}
                    for i in range(len(asked["input"]))]
            self.answer(200, {"object": "list", "data": data, "model": name,
                              "usage": {"prompt_tokens": 5, "total_tokens": 5}})
        elif self.path == "/v1/completions":
            self.answer(200, {"id": "cmpl-1", "object": "text_completion", "created": 1,
                              "model": name, "usage": None,
                              "choices": [{"index": 0, "text": "done", "logprobs": None,
                                           "finish_reason": "stop"}]})
        elif asked.get("stream"):
            self.stream(name)
        else:
            message = {"role": "assistant", "content": "".join(PIECES)}
            self.answer(200, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1,
                              "model": name, "service_tier": "default",
                              "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                              "usage": {"prompt_tokens": 3, "completion_tokens": 4,
                                        "total_tokens": 7}}, zip=name == "zipped")

    def stream(self, name):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def event(text):
            data = f"data: {text}\n\n".encode()
            # In pieces that respect neither characters nor lines.
            for at in range(0, len(data), 7):
                piece = data[at:at + 7]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

        def chunk(delta, reason=None):
            event(json.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                              "model": name, "choices": [{"index": 0, "delta": delta,
                                                          "finish_reason": reason}]}))

        chunk({"role": "assistant", "content": ""})
        for piece in PIECES:
            chunk({"content": piece})
            if name == "cut":
                self.close_connection = True
                return
        chunk({}, "stop")
        event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")


def expect(error, call):
    """The call must fail with exactly this type of error, which is returned."""
    try:
        call()
    except error as caught:
        assert type(caught) is error, type(caught)
        assert UPSTREAM_KEY not in str(caught), caught
        return caught
    raise AssertionError(f"{error.__name__} was expected")


def checks(port):
    url = f"http://127.0.0.1:{port}/v1"
    client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=20)
    user = [{"role": "user", "content": "hi"}]

    def chat(model, **more):
        return client.chat.completions.create(model=model, messages=user, **more)

    whole = chat("fast", seed=7, extra_body={"unknown_to_us": [1]})
    assert whole.choices[0].message.content == "".join(PIECES), whole
    assert whole.usage.total_tokens == 7 and whole.service_tier == "default", whole
    path, asked = seen[-1]
    assert path == "/v1/chat/completions" and asked["model"] == "good", asked
    assert asked["unknown_to_us"] == [1] and asked["seed"] == 7, asked
    assert chat("up/zipped").choices[0].message.content == "".join(PIECES)

    with chat("fast", stream=True) as chunks:
        chunks = list(chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "".join(PIECES) and chunks[-1].choices[0].finish_reason == "stop", chunks

    vectors = client.embeddings.create(model="up/embed", input=["a", "b"])
    assert [item.embedding for item in vectors.data] == [VECTOR, VECTOR], vectors
    assert seen[-1][1]["model"] == "embed"
    done = client.completions.create(model="up/old", prompt="x")
    assert done.choices[0].text == "done"

    wrong = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    count = len(seen)
    caught = expect(openai.AuthenticationError, lambda: wrong.embeddings.create(
        model="up/embed", input="a"))
    assert caught.status_code == 401 and len(seen) == count
    caught = expect(openai.NotFoundError, lambda: chat("up/missing"))
    assert caught.code == "model_not_found" and caught.param == "model"
    assert "`missing`" in caught.message
    caught = expect(openai.RateLimitError, lambda: chat("up/busy"))
    assert caught.response.headers["retry-after"] == "7"
    assert caught.code == "rate_limit_exceeded"
    expect(openai.RateLimitError, lambda: chat("up/busy", stream=True))
    caught = expect(openai.InternalServerError, lambda: chat("up/broken"))
    assert caught.status_code == 502 and caught.code == "upstream_failed", caught
    caught = expect(openai.InternalServerError, lambda: chat("up/locked"))
    assert caught.status_code == 502 and caught.code == "upstream_auth", caught
    caught = expect(openai.NotFoundError, lambda: chat("nobody"))
    assert caught.code == "model_not_found"

    # The package tries a 429 again after the time it was told, and a 502 at once.
    count = len(seen)
    expect(openai.InternalServerError, lambda: client.with_options(
        max_retries=1).chat.completions.create(model="up/broken", messages=user))
    assert len(seen) == count + 2, "each try of the client is one of ours"

    # A stream that dies must not look finished.
    pieces = []

    def read():
        for chunk in chat("up/cut", stream=True):
            pieces.extend(choice.delta.content or "" for choice in chunk.choices)

    expect(openai.APIError, read)
    assert "".join(pieces) == PIECES[0], pieces


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=server.serve_forever, daemon=True).start()
with open(config, "w") as file:
    file.write(f"""
[auth]
keys = ["{KEY}"]
[retry]
attempts = 0
[[provider]]
name = "up"
kind = "openai"
base_url = "http://127.0.0.1:{server.server_port}/v1"
api_key = "{UPSTREAM_KEY}"
[[model]]
name = "fast"
targets = [{{ provider = "up", model = "good" }}]
""")
gateway = subprocess.Popen([program, "serve", "-c", config, "--listen", "127.0.0.1:0"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
try:
    for line in gateway.stdout:
        found = re.search(r"NeuroHTTP .*127\.0\.0\.1:(\d+)", line)
        if found:
            break
    checks(int(found[1]))
finally:
    gateway.terminate()
    log, _ = gateway.communicate(timeout=20)
assert gateway.returncode == 0, gateway.returncode
assert UPSTREAM_KEY not in log and KEY not in log, log
assert "refused our credential" in log and "Incorrect API key provided: ***" in log, log
print("all well")
