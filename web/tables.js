// What is told in tables: misses, cache levels, suggestions, models, the governor, alerts, the configuration.

import {bytes, count, duration, milliseconds, share, time, words} from "./format.js";
import {bar, el, emptyNote, keepRows, panel, row, setAttribute, setBar, setText, table} from "./dom.js";
import {figureElement, labels, readFigure} from "./figures.js";

// A panel of one table whose rows are items of a list.
class ListPanel {
  // scrolls: a wide or long table, in a region of its own that the keyboard reaches
  constructor(title, columns, {key, fill, empty, before, attributes, scrolls}) {
    this.columns = columns;
    this.key = key;
    this.fill = fill;
    this.table = table(title, columns, {class: "list", ...attributes});
    this.empty = emptyNote(empty);
    const region = scrolls && {tabindex: "0", role: "region", "aria-label": scrolls};
    this.element = panel(
      title,
      ...(before || []),
      el("div", {...region, class: scrolls ? "scroll tall" : "scroll"}, this.table.element),
      this.empty,
    );
  }

  show(items) {
    keepRows(
      this.table.body,
      items,
      this.key,
      (item) => (this.make ? this.make(item) : row(this.columns)),
      (element, item) => {
        const cells = this.fill(item);
        cells.forEach((cell, i) => cell !== null && setText(element.children[i], cell));
      },
    );
    this.table.element.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
  }
}

// Series of a counter as bars, the longest first.
class CountPanel {
  constructor(title, metric, heading, note, empty) {
    const columns = [
      {title: heading},
      {title: "Share"},
      {title: "Number", number: true},
      {title: "Percent", number: true},
    ];
    this.metric = metric;
    this.list = new ListPanel(title, columns, {
      key: (item) => item.label,
      empty,
      before: [el("p", {class: "note"}, note)],
      attributes: {class: "list counts"},
      fill: (item) => [words(item.label), null, null, share(item.share)],
    });
    this.list.make = (item) => row(columns, [null, bar(), figureElement(`${metric}.${item.label}.n`)]);
    this.element = this.list.element;
  }

  showNow(status, figures) {
    const items = labels(figures, this.metric).map((label) => ({
      label,
      n: readFigure(figures, `${this.metric}.${label}.n`),
    }));
    const total = items.reduce((n, item) => n + item.n, 0);
    for (const item of items) item.share = total ? item.n / total : 0;
    items.sort((a, b) => b.n - a.n);
    this.list.show(items);
    items.forEach((item, i) => setBar(this.list.table.body.children[i].children[1].firstChild, item.share));
  }
}

class Levels {
  constructor() {
    const columns = [
      {title: "Level"},
      {title: "Found", number: true},
      {title: "Entries", number: true},
      {title: "Size", number: true},
    ];
    this.list = new ListPanel("Levels of the cache", columns, {
      key: (item) => item.name,
      empty: "There are no caches.",
      before: [
        el("p", {class: "note"}, "Share of look-ups that found something since the start; size and its ceiling."),
      ],
      fill: (item) => [item.name, item.on ? `${share(item.hit_rate)} of ${count(item.asked)}` : "off", null, null],
    });
    this.list.make = (item) =>
      row(columns, [
        null,
        null,
        figureElement(`inline_cache_entries.${item.name}.value`),
        el(
          "span",
          {},
          figureElement(`inline_cache_bytes.${item.name}.value`),
          item.max_bytes > 0 ? ` / ${bytes(item.max_bytes)}` : "",
        ),
      ]);
    this.element = this.list.element;
  }

  showNow(status) {
    const levels = (status.caches || {}).levels || {};
    this.list.show(Object.keys(levels).map((name) => ({name, ...levels[name]})));
  }
}

class Suggestions {
  constructor() {
    const line = (title, name, of) =>
      el(
        "tr",
        {},
        el("th", {scope: "row"}, title),
        el("td", {class: "number"}, figureElement(name)),
        el("td", {class: "number", "data-part": name, "data-of": of}),
      );
    const event = (name) => `inline_suggestions_total.${name}.n`;
    const kept = (name) => `inline_accepted_suggestions_checked_total.${name}.n`;
    this.rows = el(
      "tbody",
      {},
      line("Shown", event("shown")),
      line("Accepted", event("accepted"), event("shown")),
      line("Accepted in part", event("partly_accepted"), event("shown")),
      line("Dismissed", event("dismissed"), event("shown")),
      line("Still as accepted, later", kept("kept"), "kept"),
      line("Changed since", kept("changed"), "kept"),
    );
    this.element = panel(
      "Suggestions",
      el("p", {class: "note"}, "As editors tell. Shares are of those shown; kept ones of those looked at again."),
      el(
        "table",
        {class: "list"},
        el("caption", {class: "hidden"}, "Suggestions"),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", {scope: "col"}, "What became of them"),
            el("th", {scope: "col", class: "number"}, "Number"),
            el("th", {scope: "col", class: "number"}, "Share"),
          ),
        ),
        this.rows,
      ),
    );
  }

  showNow(status, figures) {
    const checked = "inline_accepted_suggestions_checked_total.n";
    for (const cell of this.rows.querySelectorAll("[data-of]")) {
      const whole = readFigure(figures, cell.dataset.of === "kept" ? checked : cell.dataset.of);
      setText(cell, whole > 0 ? share(readFigure(figures, cell.dataset.part) / whole) : "–");
    }
  }
}

function modelState(model) {
  if (model.state === "failed") return `failed: ${model.error}`;
  if (model.state === "loading" && model.weight_bytes > 0)
    return `loading, ${share(model.read_bytes / model.weight_bytes)}`;
  return model.state;
}

class Models {
  constructor() {
    const columns = [
      {title: "Model"},
      {title: "State"},
      {title: "Role"},
      {title: "Format"},
      {title: "Resident"},
      {title: "Weights", number: true},
      {title: "KV", number: true},
      {title: "Running", number: true},
      {title: "Loaded in", number: true},
      {title: "Idle for", number: true},
    ];
    this.list = new ListPanel("Models", columns, {
      key: (model) => model.name,
      empty: "No model is installed: see `inline model pull`.",
      scrolls: "All models",
      fill: (model) => [
        model.name,
        modelState(model),
        model.role,
        model.format || model.api || "",
        null,
        model.weight_bytes ? bytes(model.weight_bytes) : bytes(model.bytes),
        model.kv_bytes ? bytes(model.kv_bytes) : "–",
        count(model.requests),
        model.load_ms > 0 ? milliseconds(model.load_ms) : "–",
        model.weight_bytes ? duration(model.idle_s) : "–",
      ],
    });
    this.list.make = () => row(columns, [null, null, null, null, el("span", {class: "meter"}, bar(), el("span"))]);
    this.element = this.list.element;
  }

  showNow(status) {
    const models = status.models || [];
    this.list.show(models);
    models.forEach((model, i) => {
      const meter = this.list.table.body.children[i].children[4].firstChild;
      const part = model.weight_bytes > 0 ? model.resident_bytes / model.weight_bytes : 0;
      setBar(meter.firstChild, part);
      setText(meter.lastChild, model.weight_bytes > 0 ? share(part) : "–");
      setAttribute(this.list.table.body.children[i], "data-state", model.state);
    });
  }
}

class Governor {
  constructor() {
    const fact = (title, ...value) => el("div", {}, el("dt", {}, title), el("dd", {}, ...value));
    this.machine = el("dd");
    this.wait = el("dd");
    this.events = el("ol", {class: "events"});
    this.empty = emptyNote("It has had nothing to do.");
    this.element = panel(
      "Governor",
      el("p", {class: "note"}, "What is held back so that nobody notices us, and why."),
      el(
        "dl",
        {class: "facts"},
        fact("Threads", figureElement("inline_governor_threads.value")),
        fact("Speed", figureElement("inline_governor_speed.value")),
        fact("Processor ceiling", figureElement("inline_governor_cpu_ceiling.value")),
        fact("Work in the background", figureElement("inline_governor_background.value")),
        el("div", {}, el("dt", {}, "Editors wait"), this.wait),
        el("div", {}, el("dt", {}, "Machine"), this.machine),
      ),
      this.events,
      this.empty,
    );
  }

  showNow(status) {
    const governor = status.governor || {};
    const sample = governor.sample || {};
    const events = governor.events || [];
    const orders = governor.orders || {};
    setText(this.wait, orders.debounce_ms ? `${orders.debounce_ms} ms after a key` : "not asked to");
    setText(
      this.machine,
      [
        sample.cpus ? `${sample.cpus} processors` : "",
        sample.on_battery ? `on battery, ${sample.battery_percent} %` : "",
        governor.throttled ? "throttled for heat" : "",
        sample.memory_available ? `${bytes(sample.memory_available)} of memory free` : "",
      ]
        .filter(Boolean)
        .join(", ") || "not looked at yet",
    );
    const clock = Date.now();
    keepRows(
      this.events,
      events,
      (event) => `${event.what} ${Math.round((clock - event.ago_s * 1000) / 5000)}`,
      () => el("li", {}, el("time"), el("span", {class: "what"}), el("span", {class: "why"})),
      (li, event) => {
        setText(li.children[0], `${duration(event.ago_s)} ago`);
        setText(li.children[1], event.what);
        setText(li.children[2], event.gave_bytes > 0 ? `${event.why}; gave ${bytes(event.gave_bytes)}` : event.why);
      },
    );
    this.empty.hidden = events.length > 0;
  }
}

class Alerts {
  constructor() {
    const columns = [{title: "State"}, {title: "Severity"}, {title: "What"}, {title: "Since"}, {title: "Until"}];
    this.list = new ListPanel("Alerts", columns, {
      key: (alert) => `${alert.name} ${alert.since_ms}`,
      empty: "None has fired.",
      attributes: {class: "list wordy"},
      fill: (alert) => [
        alert.firing ? "firing" : "resolved",
        alert.severity,
        alert.message,
        time(alert.since_ms),
        alert.until_ms ? time(alert.until_ms) : "–",
      ],
    });
    this.element = this.list.element;
  }

  showNow(status) {
    const alerts = [...(status.alerts || [])].sort((a, b) => b.firing - a.firing);
    this.list.show(alerts);
    alerts.forEach((alert, i) =>
      setAttribute(this.list.table.body.children[i], "data-state", alert.firing ? alert.severity : "resolved"),
    );
  }
}

export class Configuration {
  constructor() {
    const columns = [{title: "Setting"}, {title: "Value"}, {title: "From"}];
    this.list = new ListPanel("Configuration in force", columns, {
      key: (item) => item.key,
      empty: "The daemon does not tell.",
      attributes: {class: "list wordy"},
      scrolls: "All settings",
      fill: (item) => [item.key, item.value === "" ? "–" : String(item.value), item.origin],
    });
    this.element = this.list.element;
  }

  // What was set comes before what is as delivered.
  setTable(data) {
    const isSet = (item) => item.origin !== "default";
    const items = Object.entries(data.config || {})
      .map(([key, setting]) => ({key, ...setting}))
      .sort((a, b) => isSet(b) - isSet(a));
    this.list.show(items);
    items.forEach((item, i) =>
      setAttribute(this.list.table.body.children[i], "data-state", isSet(item) ? "set" : null),
    );
  }
}

// All of them: {group: [panel, ...]}, each with showNow(status, figures).
export function makeTables() {
  return {
    work: [
      new CountPanel(
        "Why answers were computed",
        "inline_cache_misses_total",
        "Reason",
        "What the caches did not have, by why.",
        "Nothing was computed in this window.",
      ),
      new CountPanel(
        "Why nothing was shown",
        "inline_quiet_total",
        "Reason",
        "Held back on purpose.",
        "Nothing was held back in this window.",
      ),
      new Levels(),
      new Suggestions(),
    ],
    machine: [new Governor()],
    models: [new Models()],
    alerts: [new Alerts()],
  };
}
