"use strict";
const HISTORY = 120;
const byId = (id) => document.getElementById(id);
let key = "";
let last = null;
let talkAbort = null;

/* ---- words ---- */
function count(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return "–";
  const units = ["", "k", "M", "G", "T"];
  let at = 0;
  while (Math.abs(n) >= 1000 && at < units.length - 1) { n /= 1000; at += 1; }
  return Number(n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)) + units[at];
}
function micros(us) {
  if (us === null) return "–";
  if (us < 1000) return Math.round(us) + " µs";
  if (us < 1e6) return Number((us / 1000).toFixed(us < 1e4 ? 1 : 0)) + " ms";
  return Number((us / 1e6).toFixed(us < 1e7 ? 1 : 0)) + " s";
}
function dollars(n) { return n ? "$" + (n < 0.01 ? n.toPrecision(2) : n < 1000 ? n.toFixed(2) : count(n)) : "–"; }
function bytes(n) { return n < 1048576 ? (n / 1024).toFixed(0) + " KiB" : (n / 1048576).toFixed(1) + " MiB"; }
function span(seconds) {
  const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24, m = Math.floor(seconds / 60) % 60;
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min` : `${seconds} s`;
}
function clockTime(unix) { return new Date(unix * 1000).toLocaleTimeString([], { hour12: false }); }

/* ---- nodes: text is always text ---- */
function node(name, text, className) {
  const it = document.createElement(name);
  if (text !== undefined) it.textContent = text;
  if (className) it.className = className;
  return it;
}
function set(id, text) { const it = byId(id); if (it.textContent !== text) it.textContent = text; }
function row(cells) {
  const tr = node("tr");
  for (const cell of cells) {
    if (cell instanceof Node) { const td = node("td"); td.append(cell); tr.append(td); }
    else if (typeof cell === "number" || cell === null) tr.append(node("td", count(cell), "n"));
    else if (Array.isArray(cell)) tr.append(node("td", cell[0], "n"));
    else tr.append(node("td", cell));
  }
  return tr;
}

/* What has not changed stays: nobody's scrolling is lost. */
function list(id, items) {
  const place = byId(id), isSame = items.length === place.children.length && items.every((it, at) => it.textContent === place.children[at].textContent);
  if (!isSame) place.replaceChildren(...items);
}
/* On a phone each figure has the word of its column beside it. */
function fill(id, rows) {
  const words = [...byId(id).closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const tr of rows) [...tr.cells].forEach((cell, at) => { cell.dataset.label = words[at]; });
  byId(id).replaceChildren(...rows);
}

/* ---- charts ---- */
const times = [], series = {}, charts = [];
const ago = (plot) => plot.width < 220 ? [60] : [90, 60, 30];
const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function push(name, value) {
  const all = series[name];
  all.push(value === undefined || !Number.isFinite(value) ? null : value);
  if (all.length > times.length) all.shift();
}
/* A value between two gaps has no line: it gets a point. */
function lonely(plot, at) {
  const all = plot.data[at];
  return all.flatMap((v, i) => v !== null && (all[i - 1] ?? null) === null && (all[i + 1] ?? null) === null ? [i] : []);
}
function chart(id, names, words) {
  const place = byId(id), axis = { stroke: colour("--dim"), font: "11px system-ui, sans-serif", ticks: { show: false } };
  for (const name of Object.keys(names)) series[name] = [];
  const plot = new uPlot({
    width: place.clientWidth || 240, height: 104, padding: [6, 4, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: { key: "page" } },
    legend: { markers: { show: false } },
    scales: {
      x: { range: (_, min, max) => [max - HISTORY, max] },
      y: { range: (_, min, max) => [0, max > 0 ? max * 1.05 : 1] },
    },
    axes: [
      { ...axis, size: 20, gap: 4, grid: { show: false }, splits: (plot, at, min, max) => ago(plot).map((s) => max - s), values: (plot) => ago(plot).map((s) => `−${s} s`) },
      { ...axis, size: 48, gap: 4, space: 24, grid: { stroke: colour("--line"), width: 1 }, values: (_, all) => all.map(words) },
    ],
    series: [
      { label: "at", value: (_, v) => v === null ? "–" : clockTime(v) },
      ...Object.values(names).map((label, at) => {
        const stroke = colour(at ? "--second" : "--accent");
        return { label, stroke, width: 1.5, points: { size: 4, fill: stroke, filter: lonely }, value: (_, v) => v === null ? "–" : words(v) };
      }),
    ],
  }, [[], ...Object.keys(names).map(() => [])], place);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 104 })).observe(place);
  charts.push(() => {
    plot.setData([times, ...Object.keys(names).map((name) => series[name])]);
    if (plot.cursor.left === undefined || plot.cursor.left < 0) plot.setLegend({ idx: times.length - 1 }, false);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw(false, true));
}
const mebibytes = (n) => (n < 10 ? n.toFixed(1) : n.toFixed(0)) + " MiB";
chart("c-rps", { rps: "a second" }, count);
chart("c-latency", { p50: "p50", p99: "p99" }, micros);
chart("c-ttft", { ttft50: "p50", ttft99: "p99" }, micros);
chart("c-tps", { tps: "a second" }, count);
chart("c-conns", { conns: "open" }, count);
chart("c-errors", { errors: "5xx", refusals: "4xx" }, count);
chart("c-cache", { hits: "% of answers" }, count);
chart("c-memory", { memory: "resident" }, mebibytes);

/* ---- figures ---- */
function quantile(now, before, bounds, q) {
  const counts = now.map((n, i) => n - (before ? before[i] || 0 : 0));
  const all = counts[counts.length - 1];
  if (!(all > 0)) return null;
  const rank = q * all;
  let low = 0, below = 0;
  for (let i = 0; i < bounds.length; i += 1) {
    if (counts[i] >= rank) {
      const within = counts[i] - below;
      return low + (bounds[i] - low) * (within > 0 ? (rank - below) / within : 1);
    }
    low = bounds[i];
    below = counts[i];
  }
  return bounds[bounds.length - 1];
}
function get(object, ...path) {
  return path.reduce((it, name) => (it === null || it === undefined ? undefined : it[name]), object);
}
function show(now) {
  const before = last && last.uptime_seconds <= now.uptime_seconds ? last : null;
  const seconds = before ? Math.max(0.05, (now.clock_us - before.clock_us) / 1e6) : null;
  const rate = (...path) => {
    const a = get(now, ...path), b = get(before, ...path);
    return seconds && a !== undefined && b !== undefined ? Math.max(0, a - b) / seconds : null;
  };
  const percentile = (name, q) => before ? quantile(now[name], before[name], now.bounds_us, q) : null;
  set("version", now.version);
  set("uptime", "up " + span(now.uptime_seconds));
  set("state", now.state === "running" ? "running" : now.state);
  byId("light").className = now.state === "running" ? "light good" : "light";

  const rps = rate("responses"), failed = rate("responses_by_class", "5xx"), refused = rate("responses_by_class", "4xx");
  const tps = before ? rate("calls", "prompt_tokens") + rate("calls", "completion_tokens") : null;
  set("rps", rps === null ? "–" : count(Number(rps.toFixed(rps < 10 ? 1 : 0))));
  set("p50", micros(percentile("request_time", 0.5)));
  set("p99", micros(percentile("request_time", 0.99)));
  set("ttft50", micros(percentile("first_token_time", 0.5)));
  set("ttft99", micros(percentile("first_token_time", 0.99)));
  set("tps", tps === null ? "–" : count(Number(tps.toFixed(0))));
  set("conns", count(get(now, "connections", "active")));
  set("errors", failed === null ? "–" : count(Number(failed.toFixed(1))));
  set("refusals", refused === null ? "–" : count(Number(refused.toFixed(1))));
  set("memory", bytes(now.memory_resident_bytes || 0));
  const cache = now.cache || {};
  const hits = (cache.hits || 0) + (cache.coalesced || 0), asked = hits + (cache.misses || 0);
  const hitsNow = rate("cache", "hits") + rate("cache", "coalesced"), askedNow = hitsNow + rate("cache", "misses");
  set("hitrate", asked ? (100 * hits / asked).toFixed(1) + " %" : "–");
  set("cache", `${count(cache.entries || 0)} kept, ${bytes(cache.bytes || 0)}`);

  times.push(Date.now() / 1000);
  if (times.length > HISTORY) times.shift();
  push("rps", rps);
  push("p50", percentile("request_time", 0.5));
  push("p99", percentile("request_time", 0.99));
  push("ttft50", percentile("first_token_time", 0.5));
  push("ttft99", percentile("first_token_time", 0.99));
  push("tps", tps);
  push("conns", get(now, "connections", "active"));
  push("errors", failed);
  push("refusals", refused);
  push("hits", askedNow > 0 ? 100 * hitsNow / askedNow : null);
  push("memory", (now.memory_resident_bytes || 0) / 1048576);
  for (const draw of charts) draw();

  fill("models", models(now));
  fill("providers", providers(now));
  firewall(now);
  byId("workers").replaceChildren(...(now.workers || []).map((worker, index) =>
    row([String(index), worker.connections, [count(Number((rate("workers", index, "requests") || 0).toFixed(0)))]])));
  const pool = now.blocking_pool || {};
  set("pool", `blocking pool: ${count(pool.threads || 0)} threads, ${count(pool.waiting || 0)} waiting`);
  const optimizer = now.optimizer || {};
  const refusedBy = Object.entries(optimizer.refused || {}).map(([name, n]) => `${name} ${count(n)}`).join(", ");
  set("refusedby", optimizer.enabled ? `on; refused so far: ${refusedBy}` : "off");
  const decisions = (optimizer.decisions || []).slice().reverse().map((it) => {
    const li = node("li");
    const limit = (n) => n === null || n === undefined ? "none" : count(n);
    li.append(node("time", clockTime(it.time)), `${it.lever}: ${limit(it.from)} → ${limit(it.to)}, ${it.reason}`);
    return li;
  });
  list("decisions", decisions.length ? decisions : [node("li", "nothing to decide so far")]);
  last = now;
}
function circuit(state, retryMs) {
  const word = state === "closed" ? "closed" : state === "half_open" ? "half open, one request tries it"
    : "open" + (retryMs > 0 ? `, again in ${micros(Math.ceil(retryMs / 1000) * 1e6)}` : "");
  return node("span", word, "circuit " + state);
}
function models(now) {
  const shown = get(now, "routes", "models") || [];
  const names = shown.map((model) => model.name);
  const select = byId("model");
  if ([...select.options].map((o) => o.value).join("\n") !== names.join("\n")) {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => { const o = node("option", name); o.value = name; return o; }));
    if (names.includes(chosen)) select.value = chosen;
  }
  return shown.map((model) => {
    const figures = get(now, "models", model.name) || {};
    const targets = node("div");
    for (const target of model.targets || []) {
      const line = node("span", `${target.provider}${target.model ? "/" + target.model : ""} `, "target");
      line.append(circuit(target.circuit, target.retry_in_ms));
      targets.append(line);
    }
    const name = node("span", model.name);
    if (model.available === false) name.append(" ", node("span", "switched off", "off"));
    const ms = (value) => [value ? micros(value * 1000) : "–"];
    return row([name, targets, figures.requests || 0, figures.failures || 0, figures.prompt_tokens || 0,
      figures.completion_tokens || 0, [dollars(figures.cost_usd)], ms(get(figures, "first_token_ms", "p50")), ms(get(figures, "latency_ms", "p99"))]);
  });
}
function providers(now) {
  const used = new Set((get(now, "routes", "models") || []).flatMap((model) => model.targets.map((target) => target.provider)));
  return Object.entries(now.providers || {}).filter(([name]) => used.has(name)).map(([name, it]) =>
    row([name, circuit(it.circuit, it.retry_in_ms), get(it, "connections", "active") || 0, get(it, "connections", "idle") || 0, it.waiting || 0]));
}
const REASONS = {
  attacks_blocked: "attack, refused (403)", attacks_limited: "suspicious, told to wait (429)", attacks_logged: "suspicious, let pass",
  rate_limited: "beyond a rate (429)", blocked_clients: "client is blocked", denied: "on the deny list",
  connections_denied: "on the deny list, not even let in", key_failures: "wrong key", automatic_blocks: "clients blocked by itself",
  brute_force_blocks: "of those, for guessing keys", dry_run: "let pass by the dry run",
};
function firewall(now) {
  const seen = Object.entries(now.firewall || {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  byId("firewall").replaceChildren(...(seen.length ? seen.map(([name, n]) => row([REASONS[name] || name, n])) : [row(["nothing refused so far"])]));
  const blocks = now.blocks || {}, clients = blocks.clients || [];
  const found = (blocks.recent || []).map((it) => {
    const li = node("li"), done = { block: "refused", limit: "told to wait", log: "let pass" }[it.action] || it.action;
    li.append(node("time", clockTime(it.time)), `${it.rule} in ${it.part}: ${it.dry_run ? "dry run, would be " : ""}${done}${it.client ? ", from " + it.client : ""}`);
    return li;
  });
  const blocked = clients.map((it) => node("li", `${it.client} is blocked for ${span(it.seconds_left)}: ${it.cause}`));
  if (blocks.count > clients.length) blocked.push(node("li", `and ${count(blocks.count - clients.length)} more are blocked`));
  list("blocks", [...blocked, ...found]);
}

/* ---- the live stream ---- */
async function* events(response) {
  const reader = response.body.getReader(), decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const event = rest.slice(0, end);
      rest = rest.slice(end + 2);
      const data = event.split("\n").filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart()).join("\n");
      if (data) yield data;
    }
  }
}
function pause(ms) { return new Promise((resolve) => { setTimeout(resolve, ms); }); }
let wake = () => {};
async function watch() {
  let wait = 500;
  for (;;) {
    try {
      const response = await fetch("/dashboard/live", { headers: key ? { Authorization: "Bearer " + key } : {}, cache: "no-store" });
      if (response.status === 401) {
        byId("login").hidden = false;
        set("refused", key ? "This key is not the server's." : "");
        set("state", "locked");
        await new Promise((resolve) => { wake = resolve; });
        continue;
      }
      if (!response.ok) throw new Error("status " + response.status);
      byId("login").hidden = true;
      wait = 500;
      for await (const data of events(response)) show(JSON.parse(data));
      throw new Error("ended");
    } catch (error) {
      byId("light").className = "light bad";
      set("state", "not connected, trying again");
      last = null;
      await pause(wait);
      wait = Math.min(wait * 2, 8000);
    }
  }
}
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  key = byId("key").value.trim();
  byId("key").value = "";
  wake();
});

/* ---- chat ---- */
const talk = [];
byId("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (talkAbort) { talkAbort.abort(); return; }
  const prompt = byId("prompt").value.trim();
  if (!prompt) return;
  byId("prompt").value = "";
  talk.push({ role: "user", content: prompt });
  const log = byId("talk"), answer = node("p");
  log.append(node("p", prompt, "you"), answer);
  talkAbort = new AbortController();
  byId("send").textContent = "Stop";
  const headers = { "Content-Type": "application/json" };
  const apikey = byId("apikey").value.trim();
  if (apikey) headers.Authorization = "Bearer " + apikey;
  let text = "";
  try {
    const response = await fetch("/v1/chat/completions", { method: "POST", headers, signal: talkAbort.signal,
      body: JSON.stringify({ model: byId("model").value, stream: true, messages: talk.slice(-20) }) });
    if (!response.ok) {
      const told = await response.json().catch(() => null);
      throw new Error(get(told, "error", "message") || "status " + response.status);
    }
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      text += get(chunk, "choices", 0, "delta", "content") || "";
      answer.textContent = text;
      log.scrollTop = log.scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") log.append(node("p", error.message, "error"));
  }
  if (text) talk.push({ role: "assistant", content: text }); else talk.pop();
  talkAbort = null;
  byId("send").textContent = "Send";
  log.scrollTop = log.scrollHeight;
  byId("prompt").focus();
});
watch();
