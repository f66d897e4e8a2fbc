// The page: puts its parts together, hands them what the stream brings, and has the controls.

import {Configuration, makeTables} from "./tables.js";
import {Overview} from "./overview.js";
import {Requests} from "./requests.js";
import {Stream, setToken} from "./stream.js";
import {Timelines} from "./timelines.js";
import {byId, el, setAttribute, setText} from "./dom.js";
import {duration} from "./format.js";
import {hasCharts} from "./charts.js";
import {showFigures, showTargets} from "./figures.js";

const WINDOWS = [
  ["1m", "1 min", "the last minute"],
  ["15m", "15 min", "the last quarter of an hour"],
  ["24h", "24 h", "the last day"],
];
const THEMES = ["system", "light", "dark"];

const main = byId("main");
const overview = new Overview();
const timelines = new Timelines();
const requests = new Requests();
const tables = makeTables();
const configuration = new Configuration();
const allTables = Object.values(tables).flat();
let targets = [];
let last = null; // the last "now"
let daemon = null; // its process
let windowName = "15m";
let theme = readTheme();

function group(title, className, ...elements) {
  const id = `group-${className}`;
  return el(
    "section",
    {class: `group ${className}`, "aria-labelledby": id},
    el("h2", {id}, title),
    el("div", {class: "panels"}, ...elements),
  );
}

function build() {
  const of = (name) => tables[name].map((t) => t.element);
  main.append(
    overview.element,
    group("Speed", "speed", ...timelines.elements("speed")),
    group("Caches and tokens", "work", ...timelines.elements("work"), ...of("work")),
    group("Memory and processors", "machine", ...timelines.elements("machine"), ...of("machine")),
    group("Models and requests", "wide", ...of("models"), requests.element),
    group("Alerts and configuration", "rest", ...of("alerts"), configuration.element),
  );
  setAttribute(main, "data-window", windowName);
  if (!hasCharts)
    main.prepend(
      el(
        "p",
        {class: "note no-charts"},
        "This daemon was built without charts (uPlot was missing): their points are shown as tables.",
      ),
    );
}

// --- What comes ---

function showTable(table) {
  targets = table.targets || [];
  overview.setTable({...table, targets});
  timelines.setTable({...table, targets});
  configuration.setTable(table);
  setText(byId("version"), table.version);
}

function showNow(status) {
  const figures = (status.figures || {})[windowName] || {};
  if (status.pid !== daemon) requests.forget();
  daemon = status.pid;
  last = status;
  timelines.showNow(figures);
  for (const part of allTables) part.showNow(status, figures);
  requests.add(status.requests || []);
  overview.showNow(status, figures);
  showFigures(figures, main);
  showTargets(targets, figures, main);
  const sentence = WINDOWS.find(([name]) => name === windowName)[2];
  setText(
    byId("about"),
    `Figures of ${sentence}. Inline ${status.version}, process ${status.pid}, running for ${duration(status.uptime_s)} on ${status.cpu}.`,
  );
}

function onEvent(name, data) {
  if (name === "table") showTable(data);
  else if (name === "history") timelines.showHistory(data);
  else if (name === "now") showNow(data);
}

function onState(state, text) {
  setText(byId("connection-text"), text);
  setAttribute(byId("connection"), "data-state", state);
  setAttribute(main, "data-stale", state === "live" || !last ? null : "");
  if (state === "token") askToken(text);
  else if (state === "live") byId("token-form")?.remove();
}

// --- The token ---

function askToken(why) {
  byId("token-form")?.remove();
  const input = el("input", {type: "password", id: "token", autocomplete: "off", required: true});
  const form = el(
    "form",
    {
      id: "token-form",
      onsubmit: (event) => {
        event.preventDefault();
        setToken(input.value.trim());
        stream.restart();
      },
    },
    el("label", {for: "token"}, `${why} (serve.token):`),
    input,
    el("button", {type: "submit"}, "Show the figures"),
  );
  main.prepend(form);
  input.focus();
}

// --- The controls ---

function buildWindows() {
  for (const [name, text] of WINDOWS) {
    const input = el("input", {
      type: "radio",
      name: "window",
      id: `window-${name}`,
      value: name,
      onchange: () => setWindow(name),
    });
    input.checked = name === windowName;
    byId("windows").append(input, el("label", {for: `window-${name}`}, text));
  }
}

function setWindow(name) {
  windowName = name;
  setAttribute(main, "data-window", name);
  if (last) showNow({...last, requests: []});
  stream.setWindow(name);
}

function setPaused(button) {
  const isPaused = button.getAttribute("aria-pressed") !== "true";
  setAttribute(button, "aria-pressed", isPaused);
  stream.setPaused(isPaused);
}

function readTheme() {
  try {
    const kept = localStorage.getItem("inline-theme");
    return THEMES.includes(kept) ? kept : "system";
  } catch {
    return "system";
  }
}

function setTheme(name) {
  theme = name;
  setAttribute(document.documentElement, "data-theme", name === "system" ? null : name);
  setText(byId("theme-name"), name);
  try {
    localStorage.setItem("inline-theme", name);
  } catch {
    /* then it holds for this page */
  }
  timelines.restyle();
}

const stream = new Stream({onEvent, onState});
build();
buildWindows();
setTheme(theme);
byId("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]));
byId("pause").addEventListener("click", (event) => setPaused(event.currentTarget));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timelines.restyle());
stream.restart();
