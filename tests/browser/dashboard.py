"""The live page in a real browser: it loads, updates, chats, takes keys, survives another configuration
and a restart of the server.

    dashboard.py PROGRAM FOLDER     PROGRAM is neurohttp; screenshots go to FOLDER

Headless Chromium is driven through its DevTools protocol with nothing but Python's library. Any error
or message on the page's console is a failure, a refusal by the page's own policy (CSP) too.
"""
import base64, json, os, re, secrets, shutil, signal, socket, struct, subprocess, sys, tempfile, time
import urllib.error, urllib.request

PATIENCE_S = 30


class DevTools:
    """One WebSocket (RFC 6455) to a page of the browser."""

    def __init__(self, url):
        host, port, path = re.match(r"ws://([^:/]+):(\d+)(/.*)", url).groups()
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.socket.recv(65536)
        self.rest = self.rest.split(b"\r\n\r\n", 1)[1]
        self.count = 0
        self.said = []

    def _take(self, size):
        while len(self.rest) < size:
            more = self.socket.recv(65536)
            if not more:
                raise RuntimeError("the browser has gone")
            self.rest += more
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def _receive(self):
        whole = b""
        while True:
            first, second = self._take(2)
            size = second & 127
            if size == 126:
                size = struct.unpack(">H", self._take(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self._take(8))[0]
            whole += self._take(size)
            if first & 128:
                return json.loads(whole)

    def call(self, method, **params):
        self.count += 1
        text = json.dumps({"id": self.count, "method": method, "params": params}).encode()
        mask = secrets.token_bytes(4)
        size = struct.pack(">BBH", 0x81, 0xFE, len(text)) if len(text) < 65536 else struct.pack(">BBQ", 0x81, 0xFF, len(text))
        self.socket.sendall(size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
        while True:
            message = self._receive()
            if message.get("id") == self.count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, message):
        params = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            entry = params["entry"]
            # A server that is away is told of by the browser, not by the page.
            if "ERR_CONNECTION_REFUSED" not in entry["text"] and "ERR_INCOMPLETE_CHUNKED" not in entry["text"]:
                self.said.append(entry["text"])
        elif message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.said.append(json.dumps(params)[:400])

    def value(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, what, expression):
        end = time.monotonic() + PATIENCE_S
        while not self.value(expression):
            if time.monotonic() > end:
                raise RuntimeError(f"waited for {what} in vain; the page says: {self.value('document.body.innerText')}")
            time.sleep(0.1)

    def press(self, key, code, **more):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      **(more if kind == "keyDown" else {}))

    def picture(self, file, width, height, scheme):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        if self.value("document.documentElement.scrollWidth") > width:
            raise RuntimeError(f"the page is wider than {width} pixels")
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))


CONFIGURATION = """
[[model]]
name = "echo"
targets = [{ provider = "echo" }]
"""
ANOTHER_MODEL = """
[[model]]
name = "parrot"
targets = [{ provider = "echo" }]
"""
# Of a chart's picture: whether something of its line's colour is in it.
IS_DRAWN = """(() => {
  const it = document.querySelector('#c-rps canvas');
  const all = it.getContext('2d').getImageData(0, 0, it.width, it.height).data;
  for (let at = 0; at < all.length; at += 4) if (all[at + 3] > 200 && all[at + 2] > all[at] + 80) return true;
  return false;
})()"""


def start_server(program, port, file):
    server = subprocess.Popen([program, "serve", "-c", file, "--listen", f"127.0.0.1:{port}", "--set", "log.level=error"],
                              env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read()
            return server
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the server did not start") from None
            time.sleep(0.05)


def attack(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/?q=1%27%20UNION%20SELECT%20password%20FROM%20users--", timeout=5)
    except urllib.error.HTTPError as refused:
        if refused.code == 403:
            return
    raise RuntimeError("the firewall let an attack pass")


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)


def start_browser(program, folder):
    browser = subprocess.Popen(
        [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
         f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in browser.stderr:
        found = re.search(r"DevTools listening on ws://([^/]+)/", line)
        if found:
            pages = json.load(urllib.request.urlopen(f"http://{found.group(1)}/json/list", timeout=PATIENCE_S))
            return browser, DevTools(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
    raise RuntimeError("the browser did not start")


def look(page, program, port, folder):
    file = f"{folder}/neurohttp.toml"
    with open(file, "w") as out:
        out.write(CONFIGURATION)
    server = start_server(program, port, file)
    chat = f"http://127.0.0.1:{port}/v1/chat/completions"
    load = subprocess.Popen([program, "bench", chat, "--stream", "-c", "4", "-d", "20s", "-q"], stdout=subprocess.DEVNULL)
    try:
        for name in ("Log.enable", "Runtime.enable", "Page.enable"):
            page.call(name)
        page.call("Page.navigate", url=f"http://127.0.0.1:{port}/dashboard")
        page.until("figures", "document.getElementById('state')?.textContent === 'running'")
        page.until("a rate", "parseFloat(document.getElementById('rps').textContent) > 0")
        page.until("a chart", IS_DRAWN)
        page.until("the model", "document.getElementById('models').textContent.includes('echo')")
        page.until("its target", "/echo.*closed/.test(document.getElementById('models').textContent)")
        page.until("the provider", "/echo.*closed/.test(document.getElementById('providers').textContent)")
        page.until("the workers", "document.getElementById('workers').rows.length > 0")
        page.until("the optimizer", "document.getElementById('decisions').children.length > 0")
        attack(port)
        page.until("why that was refused", "document.getElementById('firewall').textContent.includes('attack, refused')"
                   " && document.getElementById('blocks').textContent.includes('sqli')")
        page.press("Tab", 9)
        if page.value("document.activeElement.className") != "skip":
            raise RuntimeError("the first key does not lead past the head of the page")
        page.value("document.getElementById('prompt').focus()")
        page.call("Input.insertText", text="hello from a browser")
        page.press("Enter", 13, text="\r")
        page.until("an answer", "document.querySelectorAll('#talk p')[1]?.textContent === 'hello from a browser'")
        for width, height in ((1440, 900), (390, 844)):
            for scheme in ("light", "dark"):
                page.picture(f"{folder}/dashboard-{width}-{scheme}.png", width, height, scheme)
        with open(file, "a") as out:
            out.write(ANOTHER_MODEL)
        server.send_signal(signal.SIGHUP)
        page.until("the new model", "[...document.getElementById('model').options].some((it) => it.value === 'parrot')")
        page.until("figures after it", "parseFloat(document.getElementById('rps').textContent) > 0")
        load.kill()
        stop(server)
        page.until("its trouble", "document.getElementById('state').textContent.includes('not connected')")
        server = start_server(program, port, file)
        page.until("the server again", "document.getElementById('state').textContent === 'running'")
        if page.said:
            raise RuntimeError("on the console: " + "; ".join(page.said))
    finally:
        load.kill()
        server.kill()


def main():
    program, folder = os.path.abspath(sys.argv[1]), sys.argv[2]
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("browser: no Chromium can be had here: the live page was not looked at")
        return
    os.makedirs(folder, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser, page = start_browser(chromium, profile)
        try:
            look(page, program, port, folder)
        finally:
            browser.kill()
            browser.wait()
    print(f"browser: the live page loads, updates, chats, takes keys, follows a new configuration and comes back; pictures in {folder}")


if __name__ == "__main__":
    main()
