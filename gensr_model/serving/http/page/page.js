"use strict";

// The page at "/": ask the service, show its answer, and say in words what the numbers mean.

const by = (id) => document.getElementById(id);
const built = []; // the history that the person builds: [{id, title}], oldest first
let versions = {}; // version number → its entry in /v1/versions
let current = ""; // the version that serves, as a text
let asked = 0; // the number of the newest request; answers to older ones are dropped

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

async function call(path, body) {
  const headers = {};
  if (by("key").value) headers["X-API-Key"] = by("key").value;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  } catch {
    throw new Error("The service does not answer. Is it still running?");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.status === 401) by("key-row").hidden = false;
  if (!answer.ok) throw new Error(content.error ? content.error.message : `The service answered ${answer.status}.`);
  return content;
}

function say(text, bad = false) {
  by("status").textContent = text;
  by("status").classList.toggle("bad", bad);
}

function after(milliseconds, work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => work().catch((error) => say(error.message, true)), milliseconds);
  };
}

// --- the form ---------------------------------------------------------------------------------------------------

async function showVersions() {
  const { model, serving, versions: every } = await call("v1/versions");
  versions = Object.fromEntries(every.map((entry) => [String(entry.version), entry]));
  current = String(serving);
  const named = (version, entry) => {
    const marks = entry.aliases && entry.aliases.length ? entry.aliases : [entry.outcome].filter(Boolean);
    return `version ${version}${marks.length ? ` (${marks.join(", ")})` : ""}`;
  };
  by("served").replaceChildren(`${model}, ${named(serving, versions[current] || {})}. `,
    versions[current] && versions[current].run_url ? make("a", { href: versions[current].run_url }, "The run that made it") : "");
  for (const [field, none] of [["version", "the version that serves"], ["other", "no other version"]]) {
    const chosen = by(field).value;
    by(field).replaceChildren(...[["", none], ...every.map((entry) => [entry.version, named(entry.version, entry)])]
      .map(([value, name]) => make("option", { value }, name)));
    if (versions[chosen]) by(field).value = chosen;
  }
  offerOthers();
}

function offerOthers() { // a version is not compared with itself
  const chosen = by("version").value || current;
  for (const option of by("other").options) option.hidden = option.disabled = option.value === chosen;
  if (by("other").value === chosen) by("other").value = "";
}

async function showUsers() {
  const { users } = await call(`v1/users?limit=20&prefix=${encodeURIComponent(by("user").value)}`);
  by("users").replaceChildren(...users.map((user) => make("option", { value: user })));
  if (!by("user").value && users.length) by("user").placeholder = `For example ${users[0]}`;
}

async function showMatches() {
  const text = by("find").value.trim();
  const { items } = text ? await call(`v1/items?limit=12&text=${encodeURIComponent(text)}`) : { items: [] };
  by("matches").replaceChildren(...items.map((item) => make("li", {}, make("button",
    { type: "button", class: "plain", onclick: () => add(item) }, item.title || item.id))));
  if (text && !items.length) by("matches").append(make("li", {}, "No title has these words."));
}

function add(item) {
  built.push({ id: item.id, title: item.title || item.id });
  showBuilt();
}

function showBuilt() {
  by("built").replaceChildren(...built.map((item, place) => make("li", {}, make("span", {}, item.title),
    make("button", { type: "button", class: "plain", "aria-label": `Remove ${item.title}`,
      onclick: () => { built.splice(place, 1); showBuilt(); by("find").focus(); } }, "remove"))));
  by("built-hint").hidden = built.length > 0;
}

function chooseWho() {
  const own = document.querySelector("input[name=who]:checked").value === "history";
  by("by-user").hidden = own;
  by("by-history").hidden = !own;
}

function request() {
  const own = !by("by-history").hidden, query = by("query").value.trim();
  const body = { top_n: 10, explain: true };
  if (own) body.history = built.map((item) => item.id);
  else if (by("user").value.trim()) body.user = by("user").value.trim();
  if (query) body.query = query;
  return body;
}

// --- the answer -------------------------------------------------------------------------------------------------

async function ask() {
  const number = ++asked, body = request(), path = body.query ? "v1/search" : "v1/recommendations";
  const wanted = (version) => (version ? { ...body, version } : body);
  say("Asking…");
  by("results").classList.add("busy");
  try {
    const other = by("other").value;
    const [answer, compared] = await Promise.all([
      call(path, wanted(by("version").value)),
      other ? call(path, { ...wanted(other), explain: false, top_n: 100 }) : null,
    ]);
    if (number === asked) show(answer, compared, body);
    if (!by("version").value && String(answer.version) !== current) showVersions().catch((error) => say(error.message, true)); // the champion has changed
  } catch (error) {
    if (number === asked) {
      by("results").replaceChildren();
      say(error.message, true);
    }
  } finally {
    if (number === asked) by("results").classList.remove("busy");
  }
}

const SOURCES = {
  "full-ranking": "The model ranked the whole catalogue.",
  retrieved: "Retrieval chose at most 200 items, and the model ranked them.",
  popular: "Nothing is known of this visitor, so the most popular items answer.",
  given: "The model ranked the given items.",
};

function show(answer, compared, body) {
  const what = body.query ? `Results for “${body.query}”` : "Recommendations";
  say(`${what}, by version ${answer.version}. ${SOURCES[answer.candidate_source] || ""}`);
  by("notes").replaceChildren(...(answer.notes || []).map((note) => make("li", {}, note)));
  showPast(answer.history || []);
  showSchema(answer.explanation_schema);
  const places = compared && new Map(compared.items.map((item) => [item.id, item.rank]));
  by("results").replaceChildren(...answer.items.map((item) => result(item, answer, places, compared)));
  if (!answer.items.length) by("results").append(make("li", {}, "The model has no item for this request."));
  showGone(answer, compared);
}

function showPast(history) {
  by("past").hidden = !history.length;
  by("past").querySelector("summary").textContent = `The history that the model read: ${history.length} events, oldest first`;
  by("past").querySelector("ol").replaceChildren(...history.map((event) => make("li", {}, event.title || event.id,
    event.behavior === "src" ? " (from a search)" : "")));
}

function showSchema(schema) {
  const names = { filter: "Weights", views: "Part of a view", other: "The rest", words: "Words" };
  const known = Object.entries(names).filter(([field]) => schema && schema[field]);
  by("schema").hidden = !known.length;
  by("schema").querySelector("dl").replaceChildren(...known.flatMap(([field, name]) =>
    [make("dt", {}, name), make("dd", {}, schema[field])]));
}

function showGone(answer, compared) {
  const shown = new Set(answer.items.map((item) => item.id));
  const gone = compared ? compared.items.filter((item) => item.rank <= answer.items.length && !shown.has(item.id)) : [];
  by("gone").hidden = !gone.length;
  if (gone.length) by("gone").textContent = `Only version ${compared.version} has in its first ${answer.items.length}: `
    + gone.map((item) => `${short(item.title || item.id)} (${item.rank})`).join("; ") + ".";
}

function result(item, answer, places, compared) {
  const about = make("p", { class: "about", hidden: "" });
  const title = make("button", { type: "button", class: "title", "aria-expanded": "false",
    onclick: () => open(item, answer, about, title) }, ...marked(item.title || item.id, item.explanation));
  const facts = make("p", { class: "facts" }, "score ", make("b", {}, number(item.score)),
    places ? moved(item.rank, places.get(item.id), compared.version) : null,
    ...[item.brand, item.category].filter(Boolean).map((text) => ` · ${text}`));
  return make("li", { "data-item": item.id }, make("span", { class: "rank" }, String(item.rank)),
    make("div", {}, title, facts, ...why(item.explanation, answer.history || []), about));
}

function number(value) {
  if (value === 0 || Math.abs(value) >= 0.001) return value.toFixed(3);
  return value.toExponential(1);
}

function moved(rank, other, version) {
  if (other === undefined) return make("span", { class: "moved up" }, `not in the first 100 of version ${version}`);
  if (other === rank) return make("span", { class: "moved" }, `the same place in version ${version}`);
  const up = other > rank;
  return make("span", { class: `moved ${up ? "up" : "down"}` }, `${up ? "▲" : "▼"} ${Math.abs(other - rank)}, from place ${other} in version ${version}`);
}

function marked(title, explanation) {
  const words = (explanation && explanation.words) || [];
  if (!words.length) return [title];
  const quoted = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  return title.split(new RegExp(`((?<![\\p{L}\\p{N}])(?:${quoted})[\\p{L}\\p{N}]*)`, "iu"))
    .map((part, place) => (place % 2 ? make("mark", {}, part) : part));
}

const VIEWS = { cf: "behavior", semantic: "text" };

function why(explanation, history) {
  if (!explanation) return [];
  const parts = [], filter = explanation.filter || {};
  const strips = Object.keys(VIEWS).filter((view) => filter[view] && filter[view].length === history.length && history.length);
  if (strips.length) {
    parts.push(make("p", { class: "why" }, sentence(strips.map((view) => filter[view]), history)));
    const strip = make("div", { class: "strip", "aria-hidden": "true" });
    for (const view of strips) strip.append(make("span", {}, `by ${VIEWS[view]}`), cells(view, filter[view], history));
    strip.append(make("span"), make("span", { class: "ends" }, make("span", {}, "oldest"), make("span", {}, "latest")));
    parts.push(strip);
  }
  const gained = Object.entries({ ...explanation.views, other: explanation.other })
    .filter(([, value]) => value !== null && value !== undefined);
  if (gained.length) parts.push(make("p", { class: "why soft" }, "Part in the score: "
    + gained.map(([part, value]) => `${VIEWS[part] || "the rest"} ${signed(value)}`).join(", ") + "."));
  if ((explanation.words || []).length) parts.push(make("p", { class: "why soft" }, `Its text has: ${explanation.words.join(", ")}.`));
  if (explanation.note) parts.push(make("p", { class: "why soft" }, explanation.note));
  return parts;
}

function sentence(weights, history) {
  const sums = new Map(); // item → [weight, title]: an item that was met twice counts once, with both weights
  history.forEach(({ id, title }, place) => {
    const weight = weights.reduce((sum, view) => sum + view[place], 0) / weights.length;
    sums.set(id, [weight + (sums.get(id) || [0])[0], title || id]);
  });
  const most = [...sums.values()].sort((a, b) => b[0] - a[0]).slice(0, 2);
  return "Looked most at " + most.map(([weight, title]) => `${short(title)} (${Math.round(100 * weight)}%)`).join(" and ") + ".";
}

function short(title) {
  return title.length > 60 ? `${title.slice(0, 57).trimEnd()}…` : title;
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

function cells(view, weights, history) {
  const most = Math.max(...weights, 1e-9), row = make("span", { class: "cells" });
  weights.forEach((weight, place) => {
    const cell = make("span", { title: `${history[place].title || history[place].id}: ${(100 * weight).toFixed(1)}%` });
    cell.style.backgroundColor = `rgba(var(--${view}), ${(weight / most).toFixed(3)})`;
    row.append(cell);
  });
  return row;
}

async function open(item, answer, about, title) {
  const closed = about.hidden;
  about.hidden = !closed;
  title.setAttribute("aria-expanded", String(closed));
  if (!closed) return;
  const event = { query_id: answer.query_id, action: "click", item: item.id, position: item.rank };
  if (by("by-history").hidden && by("user").value.trim()) event.user = by("user").value.trim();
  const [whole] = await Promise.all([call(`v1/items/${encodeURIComponent(item.id)}`), call("v1/events", event)])
    .catch((error) => [{ description: error.message }]);
  about.replaceChildren(whole.description || "This item has no description.", " ",
    make("button", { type: "button", class: "plain", onclick: () => {
      document.querySelector("input[name=who][value=history]").checked = true;
      chooseWho();
      add(item);
    } }, "Add it to a history that I build"));
}

// --- begin ------------------------------------------------------------------------------------------------------

by("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  await ask();
  const title = by("results-title"); // on a phone it is below the form
  if (title.getBoundingClientRect().top > window.innerHeight / 2) title.scrollIntoView();
});
by("user").addEventListener("input", after(150, showUsers));
by("find").addEventListener("input", after(200, showMatches));
by("find").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
document.querySelectorAll("input[name=who]").forEach((choice) => choice.addEventListener("change", chooseWho));
for (const id of ["version", "other"]) by(id).addEventListener("change", () => { offerOthers(); if (asked) ask(); });
chooseWho();
by("key").addEventListener("change", () => showVersions().then(showUsers).catch((error) => say(error.message, true)));
Promise.all([showVersions(), showUsers()]).catch((error) => say(error.message, true));
