"use strict";
const HISTORY = 120;
const byId = (id) => document.getElementById(id);
let key = "";
let last = null;
let talkAbort = null;
const series = {};

/* ---- words ---- */
function count(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return "–";
  const units = ["", "k", "M", "G", "T"];
  let at = 0;
  while (Math.abs(n) >= 1000 && at < units.length - 1) { n /= 1000; at += 1; }
  return (at === 0 && Number.isInteger(n) ? String(n) : n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)) + units[at];
}
function micros(us) {
  if (us === null) return "–";
  if (us < 1000) return Math.round(us) + " µs";
  if (us < 1e6) return (us / 1000).toFixed(us < 1e4 ? 1 : 0) + " ms";
  return (us / 1e6).toFixed(us < 1e7 ? 1 : 0) + " s";
}
function dollars(n) { return n ? "$" + (n < 0.01 ? n.toPrecision(2) : n < 1000 ? n.toFixed(2) : count(n)) : "–"; }
function bytes(n) { return n < 1048576 ? (n / 1024).toFixed(0) + " KiB" : (n / 1048576).toFixed(1) + " MiB"; }
function span(seconds) {
  const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24, m = Math.floor(seconds / 60) % 60;
  return d ? `up ${d} d ${h} h` : h ? `up ${h} h ${m} min` : m ? `up ${m} min` : `up ${seconds} s`;
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

/* ---- charts ---- */
function svg(name, attributes) {
  const it = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [k, v] of Object.entries(attributes)) it.setAttribute(k, v);
  return it;
}
function push(name, value) {
  const all = series[name] || (series[name] = []);
  all.push(value === null || !Number.isFinite(value) ? null : value);
  if (all.length > HISTORY) all.shift();
}
function line(values, top) {
  const step = 300 / (HISTORY - 1), from = HISTORY - values.length;
  let path = "", isOn = false;
  values.forEach((value, index) => {
    if (value === null) { isOn = false; return; }
    const x = ((from + index) * step).toFixed(1), y = (54 - 50 * value / top).toFixed(1);
    path += (isOn ? "L" : "M") + x + " " + y;
    isOn = true;
  });
  return path;
}
function chart(id, names, words) {
  const place = byId(id), lists = names.map((name) => series[name] || []);
  const top = Math.max(1e-9, ...lists.flat().filter((v) => v !== null));
  const picture = svg("svg", { viewBox: "0 0 300 56", preserveAspectRatio: "none", role: "img", "aria-label": `the last two minutes, at most ${words(top)}` });
  lists.forEach((values, index) => {
    const path = line(values, top);
    if (index === 0 && path && !values.includes(null)) {
      const from = (300 * (HISTORY - values.length) / (HISTORY - 1)).toFixed(1);
      picture.append(svg("path", { class: "fill", d: `${path}L300 56L${from} 56Z` }));
    }
    picture.append(svg("path", { class: index ? "second" : "first", d: path }));
  });
  const scale = node("div", undefined, "scale");
  scale.append(node("span", "max " + words(top)), node("span", "2 min"));
  place.replaceChildren(picture, scale);
}

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
  set("uptime", span(now.uptime_seconds));
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
  push("rps", rps);
  push("p50", percentile("request_time", 0.5));
  push("p99", percentile("request_time", 0.99));
  push("ttft50", percentile("first_token_time", 0.5));
  push("ttft99", percentile("first_token_time", 0.99));
  push("tps", tps);
  push("conns", get(now, "connections", "active"));
  push("errors", failed);
  push("refusals", refused);
  push("memory", now.memory_resident_bytes);
  chart("c-rps", ["rps"], count);
  chart("c-latency", ["p50", "p99"], micros);
  chart("c-ttft", ["ttft50", "ttft99"], micros);
  chart("c-tps", ["tps"], count);
  chart("c-conns", ["conns"], count);
  chart("c-errors", ["errors", "refusals"], count);
  chart("c-memory", ["memory"], bytes);

  const cache = now.cache || {};
  const hits = (cache.hits || 0) + (cache.coalesced || 0), asked = hits + (cache.misses || 0);
  set("hitrate", asked ? (100 * hits / asked).toFixed(1) + " %" : "–");
  set("cache", `${count(cache.entries || 0)} entries, ${bytes(cache.bytes || 0)}, ${count(cache.evicted || 0)} evicted`);

  byId("models").replaceChildren(...models(now));
  const firewall = [];
  for (const [name, value] of Object.entries(now.firewall || {})) {
    if (typeof value === "number") firewall.push(row([name.replaceAll("_", " "), value]));
    else if (value && typeof value === "object" && !Array.isArray(value)) {
      for (const [inner, n] of Object.entries(value)) {
        if (typeof n === "number" && n > 0) firewall.push(row([`${name.replaceAll("_", " ")}: ${inner}`, n]));
      }
    }
  }
  byId("firewall").replaceChildren(...firewall);
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
  byId("decisions").replaceChildren(...(decisions.length ? decisions : [node("li", "nothing to decide so far")]));
  last = now;
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
      const isWell = target.open && !(target.retry_in_ms > 0);
      const word = isWell ? "closed" : target.retry_in_ms > 0 ? `open, again in ${micros(target.retry_in_ms * 1000)}` : "open";
      const line = node("span", `${target.provider}${target.model ? "/" + target.model : ""} `, "target");
      line.append(node("span", `circuit ${word}`, isWell ? "closed" : "open"));
      targets.append(line);
    }
    const name = node("span", model.name);
    if (model.available === false) name.append(" ", node("span", "switched off", "off"));
    const ms = (value) => [value ? micros(value * 1000) : "–"];
    return row([name, targets, figures.requests || 0, figures.failures || 0, figures.prompt_tokens || 0,
      figures.completion_tokens || 0, [dollars(figures.cost_usd)], ms(get(figures, "first_token_ms", "p50")), ms(get(figures, "latency_ms", "p99"))]);
  });
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
