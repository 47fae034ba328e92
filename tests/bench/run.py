#!/usr/bin/env python3
"""A short benchmark of this server beside nginx, on this machine: `make bench`.

    run.py PROGRAM LOAD [--rounds N] [--seconds S] [--only NAME,...]

PROGRAM is neurohttp, LOAD the load generator built from load.c. The server under test runs on one
core with one worker, load and upstream on another; the servers take turns in every round. What is
compared is the processor time of the server for one request: it hardly depends on how fast the load
side is. Figures of two runs do not compare; ratios within one run do. Without nginx only our own
figures are printed. The upstream of the relayed requests is a second neurohttp with its echo.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SERVER_CORE, LOAD_CORE = 0, 1
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CHAT = json.dumps({
    "model": "echo",
    "stream": False,
    "max_tokens": 256,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "How does an event loop keep many connections moving? " * 36},
    ],
})
# The same for a provider of Anthropic's format: nothing passes unread.
TRANSLATED = CHAT.replace('"echo"', '"other"')
HEALTH = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body):
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )


# name: request, connections, requests sent at once, a connection for each
SCENARIOS = {
    "small": (HEALTH, 64, 1, 0),
    "pipelined x16": (HEALTH, 64, 16, 0),
    "new connection": (HEALTH, 64, 1, 1),
    "chat relayed": (post(CHAT), 64, 1, 0),
    "one chat at a time": (post(CHAT), 1, 1, 0),
    "chat translated": (post(TRANSLATED), 64, 1, 0),
}
OURS_ONLY = ("chat translated",)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, core, log):
    """Starts a server on one core, where the machine has more than one."""
    cores = os.cpu_count() or 1
    pin = (lambda: os.sched_setaffinity(0, {core % cores})) if cores > 1 else None
    return subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=pin)


def wait_for(port, process):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{process.args[0]} does not listen")


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tree(pid):
    """A process and its children."""
    found = [pid]
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            found += [int(child) for child in file.read().split()]
    except OSError:
        pass
    return found


def cpu_s(pid):
    total = 0
    for each in tree(pid):
        with open(f"/proc/{each}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK_S


def ours(program, folder, port, upstream):
    path = os.path.join(folder, "neurohttp.toml")
    with open(path, "w") as file:
        file.write(f"""
[server]
listen = ["127.0.0.1:{port}"]
workers = 1
[cache]
enable = false
[firewall]
enable = false
[optimizer]
enable = false
[[provider]]
name = "upstream"
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
[[model]]
name = "echo"
targets = [{{ provider = "upstream" }}]
[[provider]]
name = "anthropic"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key = "none"
[[model]]
name = "other"
targets = [{{ provider = "anthropic", model = "echo" }}]
""")
    return [program, "serve", "-c", path]


def nginx(program, folder, port, upstream):
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as file:
        file.write(f"""
daemon off; worker_processes 1; error_log {folder}/error.log crit; pid {folder}/nginx.pid;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  upstream llm {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = /health {{ default_type application/json; return 200 '{{"status":"ok"}}'; }}
    location /v1/ {{
      proxy_pass http://llm; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Host 127.0.0.1;
    }}
  }}
}}
""")
    return [program, "-p", folder, "-c", path, "-e", f"{folder}/error.log"]


def measure(load, server, port, request, scenario, seconds):
    _, connections, depth, close = scenario
    command = [load, str(port), str(connections), str(seconds), str(depth), str(close), request]
    cores = os.cpu_count() or 1
    pin = (lambda: os.sched_setaffinity(0, {LOAD_CORE % cores})) if cores > 1 else None
    before = cpu_s(server.pid)
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=pin, timeout=60)
    if done.returncode != 0:
        raise SystemExit(f"the load generator failed: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["requests"] == 0 or result["errors"] > 0:
        raise SystemExit(f"{' '.join(command)}: {done.stdout.strip()}")
    result["cpu_us"] = (cpu_s(server.pid) - before) * 1e6 / result["requests"]
    result["per_s"] = result["requests"] / result["seconds"]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--only", help="scenarios, between commas")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(SCENARIOS)
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "log"), "w") as log:
        upstream_port = free_port()
        command = [arguments.program, "serve", "--listen", f"127.0.0.1:{upstream_port}"]
        upstream = start(command + ["--set", "server.workers=1"], LOAD_CORE, log)
        servers = {}
        try:
            wait_for(upstream_port, upstream)
            kinds = {"neurohttp": (ours, arguments.program)}
            if shutil.which("nginx"):
                kinds["nginx"] = (nginx, shutil.which("nginx"))
            else:
                print("nginx is not installed: our own figures only", file=sys.stderr)
            for name, (configure, program) in kinds.items():
                port = free_port()
                command = configure(program, folder, port, upstream_port)
                servers[name] = (start(command, SERVER_CORE, log), port)
                wait_for(port, servers[name][0])
            print_machine(arguments)
            for scenario in names:
                run_scenario(arguments, folder, servers, scenario)
        finally:
            for server, _ in servers.values():
                stop(server)
            stop(upstream)


def print_machine(arguments):
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    load = os.getloadavg()[0]
    print(f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}, load {load:.1f}")
    print(f"{arguments.rounds} rounds of {arguments.seconds:g} s, medians; "
          "CPU: microseconds of one core for one request")
    print(f"{'scenario':28} {'server':10} {'CPU us':>8} {'spread':>13} {'req/s':>9} "
          f"{'p50 us':>7} {'p99 us':>7}  CPU / nginx")


def run_scenario(arguments, folder, servers, name):
    scenario = SCENARIOS[name]
    request = os.path.join(folder, "request")
    with open(request, "w") as file:
        file.write(scenario[0])
    if name in OURS_ONLY:
        servers = {"neurohttp": servers["neurohttp"]}
    rounds = {server: [] for server in servers}
    for _ in range(arguments.rounds):
        for server, (process, port) in servers.items():
            seconds = arguments.seconds
            rounds[server].append(
                measure(arguments.load, process, port, request, scenario, seconds))
    cpu = {server: statistics.median(r["cpu_us"] for r in rounds[server]) for server in servers}
    for server, results in rounds.items():
        middle = {key: statistics.median(r[key] for r in results)
                  for key in ("per_s", "p50_us", "p99_us")}
        spread = "{:.2f}-{:.2f}".format(min(r["cpu_us"] for r in results),
                                        max(r["cpu_us"] for r in results))
        ratio = f"{cpu[server] / cpu['nginx']:.2f}" if cpu.get("nginx") else "-"
        print(f"{name:28} {server:10} {cpu[server]:8.2f} {spread:>13} {middle['per_s']:9.0f} "
              f"{middle['p50_us']:7.0f} {middle['p99_us']:7.0f}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
