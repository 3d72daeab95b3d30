"use strict";
// What nodes say of themselves is shown by textContent alone. Nothing is loaded from elsewhere.
const SLOTS = 16384, SIDE = 128, CELL = 4, FEED_MAX = 500, ROWS_MAX = 300, SILENCE_MAX_BEATS = 4;
const byId = (id) => document.getElementById(id);
const colour = (index) => `hsl(${(index * 137.508 + 210) % 360} ${52 - (index % 3) * 6}% ${50 + (index % 4) * 4}%)`;
const BAD = new Set(["NodeFailed", "NodeUnreachable", "NodeLeft", "ElectionLost", "HandshakeFailed", "PeerRefused"]);
const GOOD = new Set(["NodeRecovered", "NodeReachable", "NodeJoined", "ElectionWon"]);
const WARN = new Set(["NodeSuspected", "SlotsChanged", "RoleChanged", "EpochChanged", "ElectionStarted", "AddressChanged"]);
let picture = null, owners = new Int32Array(SLOTS).fill(-1), nodes = new Map(), colours = new Map(), at = 0;

function text(tag, words, name) {
  const element = document.createElement(tag);
  element.textContent = words;
  if (name) element.className = name;
  return element;
}

const address = (node) => `${node.ip.includes(":") ? `[${node.ip}]` : node.ip || "?"}:${node.port}`;
const short = (id) => { const node = nodes.get(id); return node ? `${id.slice(0, 8)}@${address(node)}` : /^[0-9a-f]{40}$/.test(id) ? id.slice(0, 8) : id; };
const rangeText = (ranges) => ranges.map(([first, last]) => first === last ? first : `${first}-${last}`).join(" ");
const count = (ranges) => ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
const rtt = (us) => us === null ? "" : us < 1000 ? `${us} µs` : `${(us / 1000).toFixed(us < 10000 ? 2 : 1)} ms`;

async function refresh() {
  const answer = await fetch("topology.json");
  if (!answer.ok) throw new Error(`${answer.status}`);
  picture = await answer.json();
  nodes = new Map(picture.nodes.map((node) => [node.id, node]));
  owners.fill(-1);
  // A shard keeps its colour while its nodes change.
  const shards = [...new Set(picture.nodes.filter((node) => node.slots.length).map((node) => node.shard))].sort();
  for (const shard of shards) if (!colours.has(shard)) colours.set(shard, colour(colours.size));
  picture.nodes.forEach((node, index) => {
    for (const [first, last] of node.slots) owners.fill(index, first, last + 1);
  });
  drawHead(); drawMap(); drawShards();
  early.splice(0).forEach(addChange);
  if (source.readyState === EventSource.OPEN) live();
}

function drawHead() {
  const me = nodes.get(picture.me);
  byId("me").textContent = me ? `${picture.me.slice(0, 8)} ${me.name} ${address(me)}` : picture.me;
  const pill = byId("state");
  pill.textContent = picture.state;
  pill.className = `pill ${picture.state}`;
  byId("reason").textContent = picture.not_ready.join("; ");
  const failing = picture.nodes.filter((node) => node.flags.includes("fail")).length;
  const suspected = picture.nodes.filter((node) => node.flags.includes("fail?")).length;
  const primaries = picture.nodes.filter((node) => node.slots.length).length;
  byId("numbers").textContent = `${picture.nodes.length} nodes, ${primaries} primaries with slots, ` +
    `${failing} failed, ${suspected} suspected, epoch ${picture.current_epoch}`;
  document.title = `${picture.state} · clusterbus`;
}

function drawMap() {
  const canvas = byId("map"), brush = canvas.getContext("2d");
  const empty = getComputedStyle(document.body).getPropertyValue("--back");
  brush.fillStyle = empty;
  brush.fillRect(0, 0, canvas.width, canvas.height);
  for (let slot = 0; slot < SLOTS; slot++) {
    const x = (slot % SIDE) * CELL, y = Math.floor(slot / SIDE) * CELL;
    const owner = owners[slot];
    if (owner < 0) {
      brush.fillStyle = "#c62f2f";
      brush.fillRect(x + 1, y + 1, 1, 1);
      continue;
    }
    const node = picture.nodes[owner];
    brush.fillStyle = colours.get(node.shard);
    brush.fillRect(x, y, CELL, CELL);
    if (node.flags.includes("fail")) { brush.fillStyle = "#000"; brush.fillRect(x + 1, y + 1, 2, 2); }
  }
  brush.strokeStyle = "#fff";
  for (const [first, last] of [...picture.migrating, ...picture.importing]) {
    for (let slot = first; slot <= last; slot++) {
      brush.strokeRect((slot % SIDE) * CELL + .5, Math.floor(slot / SIDE) * CELL + .5, CELL - 1, CELL - 1);
    }
  }
  const gaps = [];
  for (let slot = 0; slot < SLOTS; slot++) {
    if (owners[slot] >= 0) continue;
    const first = slot;
    while (slot + 1 < SLOTS && owners[slot + 1] < 0) slot++;
    gaps.push([first, slot]);
  }
  const lines = gaps.length ? [`without an owner: ${rangeText(gaps.slice(0, 8))}${gaps.length > 8 ? " …" : ""} (${count(gaps)})`] : [];
  for (const [first, last, id] of picture.migrating.slice(0, 8)) lines.push(`open, going to ${short(id)}: ${rangeText([[first, last]])}`);
  for (const [first, last, id] of picture.importing.slice(0, 8)) lines.push(`open, coming from ${short(id)}: ${rangeText([[first, last]])}`);
  byId("gaps").replaceChildren(...lines.map((line) => text("li", line)));
  canvas.setAttribute("aria-label", `${SLOTS - count(gaps)} of ${SLOTS} slots have an owner`);
}

function tellSlot(slot) {
  at = Math.max(0, Math.min(SLOTS - 1, slot));
  const owner = picture && owners[at] >= 0 ? picture.nodes[owners[at]] : null;
  byId("slot").textContent = `slot ${at}: ${owner ? short(owner.id) : "no owner"}`;
}

function drawShards() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const shards = new Map();
  for (const node of picture.nodes) shards.set(node.shard, [...(shards.get(node.shard) || []), node]);
  const first = (members) => Math.min(...members.flatMap((node) => node.slots.map(([begin]) => begin)), SLOTS);
  const sorted = [...shards.values()].sort((one, other) => first(one) - first(other));
  const rows = [];
  for (const members of sorted) {
    members.sort((one, other) => (other.slots.length > 0) - (one.slots.length > 0) || (one.role > other.role) - (one.role < other.role) || one.id.localeCompare(other.id));
    for (const node of members) {
      const tags = Object.entries(node.tags).map(([name, value]) => `${name}=${value}`).join(" ");
      const words = `${node.id} ${node.shard} ${address(node)} ${node.hostname} ${node.name} ${node.zone} ${node.role} ${node.flags.join(" ")} ${tags}`;
      if (wanted && !words.toLowerCase().includes(wanted)) continue;
      if (byId("trouble").checked && !inTrouble(node)) continue;
      rows.push([node, tags]);
    }
  }
  const table = byId("shards"), shown = showAll ? rows : rows.slice(0, ROWS_MAX);
  const lines = shown.map(([node, tags]) => keptRow(node, tags));
  for (const id of kept.keys()) if (!nodes.has(id)) kept.delete(id);
  if (lines.length !== table.childElementCount || lines.some((line, index) => line !== table.children[index])) {
    table.replaceChildren(...lines);
  }
  byId("more").hidden = shown.length === rows.length;
  byId("more").textContent = `show ${rows.length - shown.length} more`;
}

// What has not changed stays where it is, so that a selection outlives the next picture.
const kept = new Map();
let showAll = false;
function keptRow(node, tags) {
  const words = JSON.stringify([node, colours.get(node.shard), picture.me]), old = kept.get(node.id);
  if (old && old.words === words) return old.line;
  const line = row(node, tags);
  kept.set(node.id, { words, line });
  return line;
}

const inTrouble = (node) => !node.up || node.unreachable || node.flags.some((flag) => flag.startsWith("fail") || flag === "noaddr");

function row(node, tags) {
  const line = document.createElement("tr");
  line.className = node.role;
  line.dataset.node = node.id;
  if (node.flags.includes("fail")) line.classList.add("fail");
  else if (inTrouble(node)) line.classList.add("suspect");
  if (node.id === picture.me) line.classList.add("me");
  const swatch = document.createElement("i");
  swatch.className = "swatch";
  if (colours.has(node.shard)) swatch.style.setProperty("background", colours.get(node.shard));
  const mark = document.createElement("td");
  mark.append(swatch);
  const flags = node.flags.filter((flag) => !["master", "slave"].includes(flag));
  if (!node.up) flags.push("no link");
  if (node.unreachable) flags.push("unreachable");
  const ranges = text("td", rangeText(node.slots.slice(0, 12)) + (node.slots.length > 12 ? " …" : ""), "ranges");
  const told = text("td", tags, "tags");
  told.title = tags;
  const id = text("td", node.id.slice(0, 8) + (node.name ? ` ${node.name}` : ""));
  id.title = node.id;
  line.append(mark, id, text("td", address(node) + (node.hostname ? ` ${node.hostname}` : "")), text("td", node.role),
    text("td", node.slots.length ? count(node.slots) : "", "number"), ranges, text("td", node.epoch, "number"),
    text("td", rtt(node.rtt_us), "number"), text("td", rtt(node.rtt_max_us), "number"), text("td", flags.join(" ")),
    text("td", node.zone), told);
  return line;
}

function value(part) {
  if (typeof part === "string") return short(part);
  if (Array.isArray(part)) return part.every(Array.isArray) ? rangeText(part) || "-" : part.join(" ");
  return part !== null && typeof part === "object" ? JSON.stringify(part) : String(part);
}

const early = [];
function addChange(told) {
  if (!picture) { early.push(told); return; }  // its nodes have no addresses yet
  const change = JSON.parse(told.data);
  const name = BAD.has(change.kind) || change.fields.state === "fail" ? "bad"
    : GOOD.has(change.kind) || change.fields.state === "ok" ? "good" : WARN.has(change.kind) ? "warn" : "dim";
  const line = text("li", "", name), time = text("time", new Date(change.at_ms).toLocaleTimeString([], { hour12: false }));
  const words = Object.entries(change.fields).filter(([, part]) => part !== null && part !== "" && part !== false && part.length !== 0)
    .map(([field, part]) => field === "node_id" ? value(part) : field.replaceAll("_", " ") + (part === true ? "" : ` ${value(part)}`)).join(", ");
  line.append(time, text("b", change.kind), words);
  prepend(line);
}

function prepend(line) {
  const feed = byId("feed");
  feed.prepend(line);
  while (feed.childElementCount > FEED_MAX) feed.lastElementChild.remove();
}

let asked = false, again = false;
async function picturesChanged() {
  if (asked) { again = true; return; }
  asked = true;
  do {
    again = false;
    try { await refresh(); } catch (error) { if (!cutSince) cutOff(`no picture (${error.message})`); }
  } while (again);
  asked = false;
}

let cutSince = null, run = "", lastId = "", heard = 0, silenceMax = 20000, source = null;

function cutOff(words) {
  cutSince ||= new Date();
  byId("connection").textContent = `${words} since ${cutSince.toLocaleTimeString([], { hour12: false })}; trying again`;
  byId("connection").className = "cut";
  document.body.classList.add("old");
}

function live() {
  cutSince = null;
  byId("connection").textContent = "live";
  byId("connection").className = "";
  document.body.classList.remove("old");
}

function greeted(told) {
  const hello = JSON.parse(told.data);
  silenceMax = hello.beat_s * 1000 * SILENCE_MAX_BEATS;
  if (run && run !== hello.run) prepend(text("li", "the node was started anew", "warn"));
  run = hello.run;
  live();
}

function connect() {
  if (source) source.close();
  heard = Date.now();
  source = new EventSource(`events?after=${encodeURIComponent(lastId)}`);
  const on = (kind, handle) => source.addEventListener(kind, (told) => { heard = Date.now(); handle(told); });
  on("hello", greeted);
  on("change", (told) => { lastId = told.lastEventId; addChange(told); });
  on("lost", (told) => prepend(text("li", `${told.data} changes were not shown`, "warn")));
  on("picture", picturesChanged);
  on("beat", () => undefined);
  source.onerror = () => {
    cutOff("cut off from the node: what is shown is old,");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

// A node that hangs, or a network that swallows everything, ends no connection.
setInterval(() => {
  if (Date.now() - heard < silenceMax) return;
  cutOff("no word from the node: what is shown is old,");
  connect();
}, 1000);

byId("more").addEventListener("click", () => { showAll = true; drawShards(); });
for (const id of ["filter", "trouble"]) byId(id).addEventListener("input", () => picture && drawShards());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => picture && drawMap());
byId("map").addEventListener("mousemove", (event) => {
  const side = event.target.clientWidth / SIDE;
  tellSlot(Math.floor(event.offsetY / side) * SIDE + Math.floor(event.offsetX / side));
});
byId("map").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -SIDE, ArrowDown: SIDE }[event.key];
  if (step) { event.preventDefault(); tellSlot(at + step); }
});
connect();
