// What the page at / does: asks /predict and /explain about the row in the form, and reads /metrics now and then.
// Whatever comes from a table is set as text, never as HTML.

const about = JSON.parse(document.getElementById("about").textContent);
const byId = (id) => document.getElementById(id);
const MOST_PARTS = 12;
const NOTHING = 1e-9;
const WINDOW = 60000; // milliseconds that a rate is measured over
const SHORTEST = 1500;

// Elements and figures

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function figure(value, digits = 4) {
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en");
  const shown = Number(value.toPrecision(digits));
  return Math.abs(shown) >= 1e-4 && Math.abs(shown) < 1e9 ? shown.toLocaleString("en", { maximumFractionDigits: 12 }) : String(shown);
}

const signed = (value, decimals) => {
  const shown = Math.abs(value).toFixed(decimals);
  if (Number(shown) === 0) return "0";
  return (value > 0 ? "+" : "\u2212") + Number(shown).toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
};
const percent = (share) => `${(100 * share).toFixed(share > 0.001 && share < 0.999 ? 1 : 2)}\u00a0%`;
const seconds = (value) => (value < 1 ? `${figure(1000 * value, 3)} ms` : `${figure(value, 3)} s`);
const dollars = (value) => `$${value === 0 ? "0" : value < 0.1 ? Number(value.toPrecision(2)) : value.toFixed(2)}`;

function bar(from, to, both) {
  const part = element("i", from > to ? { class: "down" } : {});
  part.style.left = `${100 * Math.min(from, to)}%`;
  part.style.width = `${100 * Math.abs(to - from)}%`;
  return element("div", { class: both ? "bar both" : "bar", "aria-hidden": "true" }, part);
}

function table(caption, rows) {
  const made = element("table", {}, element("caption", {}, caption));
  const body = element("tbody");
  for (const [name, note, drawn, text] of rows) {
    const head = element("th", { scope: "row" }, element("bdi", {}, name));
    if (note) head.append(element("small", { class: "quiet" }, note));
    body.append(element("tr", {}, head, element("td", {}, drawn), element("td", { class: "n" }, text)));
  }
  made.append(body);
  return made;
}

// The row in the form

function cell(field, input) {
  if (input.value.trim() === "" && !input.validity.badInput) return null;
  if (field.control === "number") {
    const number = Number(input.value);
    if (input.validity.badInput || !Number.isFinite(number)) throw new Error(`${field.name}: this is not a number.`);
    return number;
  }
  if (input.validity.badInput) throw new Error(`${field.name}: this is not a whole date.`);
  return field.control === "moment" ? input.value.replace("T", " ") : input.value;
}

function readRow() {
  const row = {};
  let wrong = null;
  about.fields.forEach((field, number) => {
    const input = byId(`f${number}`);
    input.removeAttribute("aria-invalid");
    try {
      row[field.name] = cell(field, input);
    } catch (fault) {
      input.setAttribute("aria-invalid", "true");
      wrong = wrong || { input, fault };
    }
  });
  if (wrong) {
    wrong.input.focus();
    throw wrong.fault;
  }
  return row;
}

const headers = () => (byId("key").value ? { authorization: `Bearer ${byId("key").value}` } : {});

async function reach(path, how) {
  try {
    return await fetch(path, how);
  } catch {
    throw new Error("The endpoint did not answer.");
  }
}

const TRIES = 5;

async function ask(path, rows, tries = TRIES) {
  const reply = await reach(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers() },
    body: JSON.stringify({ rows }),
  });
  if (reply.status === 429 && tries > 1) {
    const seconds = Math.min(5, Number(reply.headers.get("retry-after")) || 1);
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    return ask(path, rows, tries - 1);
  }
  const answer = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(typeof answer.error === "string" ? answer.error : `The endpoint answered ${reply.status}.`);
  return answer;
}

// What was said, and why

function showPrediction(said) {
  const place = byId("said");
  const value = typeof said.prediction === "number" ? figure(said.prediction, 6) : said.prediction;
  const label = element("p", { class: "label", id: "prediction" }, element("bdi", {}, value));
  label.dataset.value = JSON.stringify(said.prediction);
  place.replaceChildren(label);
  if ("prediction_low" in said) {
    const [low, high] = [figure(said.prediction_low), figure(said.prediction_high)];
    place.append(element("p", { class: "quiet" }, `Nine times in ten the truth lies between ${low} and ${high}.`));
  }
  const likely = about.classes.map((name) => [name, said[`probability_${name}`]]).sort((a, b) => b[1] - a[1]);
  if (likely.length) {
    const rows = likely.slice(0, 10).map(([name, share]) => [name, "", bar(0, share, false), percent(share)]);
    const more = likely.length > 10 ? `, the 10 likeliest of ${likely.length} classes` : "";
    place.append(table(`Probabilities${more}`, rows));
  }
}

function sentence(why, scale) {
  const from = about.typical ? "typical rows, on average" : "the typical row";
  if (scale === "value") return `From ${figure(why.base)} for ${from}, to ${figure(why.value)}. Each bar is what one column adds or takes.`;
  const share = (value) => percent(1 / (1 + Math.exp(-value)));
  return `From ${share(why.base)} ${why.of} for ${from}, to ${share(why.value)}. Each bar is what one column adds to the log-odds, or takes from them.`;
}

function showWhy(row, why, scale) {
  const parts = Object.entries(why.contributions).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const most = Math.max(...parts.map(([, part]) => Math.abs(part)), NOTHING);
  const decimals = Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(most))));
  const lines = parts.map(([name, part]) => {
    const value = row[name] === null ? "not known" : typeof row[name] === "number" ? figure(row[name], 5) : row[name];
    const note = value.length > 40 ? `${value.slice(0, 39)}…` : value;
    return [name, note, bar(0.5, 0.5 + part / most / 2, true), signed(part, decimals)];
  });
  const place = byId("why");
  place.dataset.done = "true";
  if (parts.every(([, part]) => Math.abs(part) < NOTHING)) {
    const nothing = "This row is predicted as what it is compared with: no column adds or takes anything.";
    place.replaceChildren(element("h3", {}, "Why"), element("p", { class: "quiet" }, nothing));
    return;
  }
  place.replaceChildren(element("h3", {}, "Why"), table(sentence(why, scale), lines.slice(0, MOST_PARTS)));
  if (lines.length > MOST_PARTS) {
    const rest = lines.slice(MOST_PARTS);
    place.append(element("details", {}, element("summary", {}, `${rest.length} more column${rest.length > 1 ? "s" : ""}`), table("The weaker ones", rest)));
  }
}

function showCode(row) {
  const url = new URL("predict", document.baseURI).href;
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const keyed = byId("key").value !== "";
  const key = keyed ? ' -H "authorization: Bearer $LEPTON_KEY"' : "";
  const body = quoted(JSON.stringify({ rows: [row] }));
  byId("curl").textContent = `curl -s ${quoted(url)} -H 'content-type: application/json'${key} -d ${body}`;
  const cells = Object.entries(row).map(([name, value]) => `${JSON.stringify(name)}: ${value === null ? "None" : JSON.stringify(value)}`);
  byId("python").textContent = [
    keyed ? "import json, os, urllib.request" : "import json, urllib.request",
    "",
    `rows = [{${cells.join(", ")}}]`,
    `request = urllib.request.Request(${JSON.stringify(url)}, json.dumps(rows).encode(),`,
    `                                 {"content-type": "application/json"${keyed ? ', "authorization": f"Bearer {os.environ[\'LEPTON_KEY\']}"' : ""}})`,
    'print(json.load(urllib.request.urlopen(request))["predictions"])',
  ].join("\n");
}

function tell(fault) {
  byId("fault").textContent = fault ? fault.message : "";
  byId("fault").hidden = !fault;
}

let busy = false;

async function submit(event) {
  event.preventDefault();
  if (busy) return;
  busy = true;
  byId("ask").setAttribute("aria-disabled", "true");
  byId("why").replaceChildren();
  delete byId("why").dataset.done;
  tell(null);
  try {
    const row = readRow();
    showPrediction((await ask("predict", [row])).predictions[0]);
    showCode(row);
    const answer = await ask("explain", [row]);
    showWhy(row, answer.explanations[0], answer.scale);
  } catch (fault) {
    if (!byId("prediction")) byId("said").replaceChildren();
    tell(fault);
  } finally {
    busy = false;
    byId("ask").removeAttribute("aria-disabled");
    look();
  }
}

// Live figures: each replica counts for itself, so what one of them said is kept by its name

const replicas = new Map();

function parse(text) {
  const seen = { replica: "", requests: 0, rows: 0, started: 0, price: null, told: null, capped: false, spent: null, buckets: new Map() };
  for (const line of text.split("\n")) {
    const found = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const [, name, labels = "", value] = found;
    const label = (key) => new RegExp(`(?:^|,)${key}="([^"]*)"`).exec(labels)?.[1];
    const asked = /\/(predict|infer)$/.test(label("route") || "");
    if (name === "lepton_replica_info") seen.replica = label("replica");
    else if (name === "lepton_requests_total" && asked) seen.requests += Number(value);
    else if (name === "lepton_rows_total") seen.rows = Number(value);
    else if (name === "lepton_started_time_seconds") seen.started = Number(value);
    else if (name === "lepton_usd_per_hour") seen.price = Number(value);
    else if (name === "lepton_replicas") seen.told = Number(value);
    else if (name === "lepton_cap_binds") seen.capped = Number(value) === 1;
    else if (name === "lepton_usd_spent") seen.spent = Number(value);
    else if (name === "lepton_request_seconds_bucket" && asked) {
      const end = label("le") === "+Inf" ? Infinity : Number(label("le"));
      seen.buckets.set(end, (seen.buckets.get(end) || 0) + Number(value));
    }
  }
  return seen;
}

function within(buckets, share) {
  const ends = [...buckets.entries()].sort((a, b) => a[0] - b[0]);
  const total = ends.length ? ends[ends.length - 1][1] : 0;
  if (!total) return null;
  let [below, before] = [0, 0];
  for (const [end, count] of ends) {
    if (count >= share * total) {
      if (end === Infinity) return below;
      return below + ((end - below) * (share * total - before)) / Math.max(count - before, 1e-9);
    }
    [below, before] = [end, count];
  }
  return below;
}

function keep(seen) {
  const now = Date.now();
  const past = replicas.get(seen.replica);
  const samples = past && past[past.length - 1].requests <= seen.requests ? past : [];
  samples.push({ ...seen, at: now });
  while (samples.length > 2 && samples[1].at < now - WINDOW) samples.shift();
  replicas.set(seen.replica, samples);
  for (const [name, kept] of replicas) if (kept[kept.length - 1].at < now - WINDOW) replicas.delete(name);
}

function showLive() {
  const total = { rate: null, rows: 0, buckets: new Map(), latest: null, started: Infinity };
  for (const samples of replicas.values()) {
    const [first, last] = [samples[0], samples[samples.length - 1]];
    if (last.at - first.at >= SHORTEST) total.rate = (total.rate || 0) + (1000 * (last.requests - first.requests)) / (last.at - first.at);
    total.rows += last.rows;
    total.started = Math.min(total.started, last.started);
    for (const [end, count] of last.buckets) total.buckets.set(end, (total.buckets.get(end) || 0) + count);
    if (!total.latest || last.at > total.latest.at) total.latest = last;
  }
  const [half, most] = [within(total.buckets, 0.5), within(total.buckets, 0.99)];
  byId("live-rate").textContent = total.rate === null ? "–" : `${figure(total.rate, 3)} /s`;
  byId("live-p50").textContent = half === null ? "–" : seconds(half);
  byId("live-p99").textContent = most === null ? "–" : seconds(most);
  byId("live-replicas").textContent = String(total.latest.told ?? replicas.size);
  if (total.latest.told !== null) byId("live-scale").textContent = total.latest.capped ? "the cap on dollars allows no more" : "that answer";
  byId("live-rows").textContent = `${figure(total.rows)} row${total.rows === 1 ? "" : "s"} predicted since it came up`;
  if (total.latest.price === null) return;
  const spent = total.latest.spent ?? (total.latest.price * Math.max(0, Date.now() / 1000 - total.started)) / 3600;
  byId("live-spent").textContent = dollars(spent);
  byId("live-price").textContent = `since it came up, at ${dollars(total.latest.price)} per hour`;
  byId("live-per").textContent = total.rows ? dollars((1000 * spent) / total.rows) : "–";
}

async function look() {
  if (!document.hidden) {
    try {
      const reply = await reach("metrics", { headers: headers(), cache: "no-store" });
      if (!reply.ok) throw new Error(reply.status === 401 || reply.status === 403 ? "they need an API key." : `the endpoint answered ${reply.status}.`);
      keep(parse(await reply.text()));
      showLive();
      byId("live-fault").hidden = true;
    } catch (fault) {
      byId("live-fault").textContent = `No live figures: ${fault.message}`;
      byId("live-fault").hidden = false;
    }
  }
}

async function live() {
  await look();
  setTimeout(live, 2000);
}

function fillAgain(event) {
  event.preventDefault();
  about.fields.forEach((field, number) => {
    byId(`f${number}`).value = field.filled;
    byId(`f${number}`).removeAttribute("aria-invalid");
  });
  tell(null);
}

byId("form").addEventListener("submit", submit);
byId("form").addEventListener("reset", fillAgain);
live();
