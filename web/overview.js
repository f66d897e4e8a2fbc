// The first thing that is seen: whether all is well, what is not, and the six figures that matter most.

import {bar, byId, el, keepRows, setAttribute, setBar, setText} from "./dom.js";
import {figureElement, formatFigure, isMet, readFigure, targetElement, targetFigure} from "./figures.js";

function tile(title, main, details, target) {
  return el(
    "div",
    {class: "tile"},
    el("h3", {}, title),
    el("p", {class: "big"}, main),
    el("p", {class: "details"}, ...details),
    target ? el("p", {class: "target-line"}, target) : null,
  );
}

function firing(status) {
  return (status.alerts || []).filter((alert) => alert.firing);
}

// What is not as it should be, beside the alerts, which stand above: {text, isBad}, the worst first.
function problems(status, figures, targets) {
  const found = [];
  const main = (status.models || [])[0];
  if (main && main.state === "failed") found.push({text: `${main.name || "no model"}: ${main.error}`, isBad: true});
  for (const server of status.remote || []) {
    if (!server.up) found.push({text: `${server.name} does not answer`, isBad: true});
  }
  for (const target of targets) {
    if (isMet(target, figures) !== false) continue;
    const name = targetFigure(target);
    found.push({text: `${target.help}: now ${formatFigure(name, readFigure(figures, name))}`, isBad: false});
  }
  return found;
}

export class Overview {
  constructor() {
    this.verdict = el("p", {id: "verdict", "data-state": "unknown"}, "Waiting for figures");
    this.list = el("ul", {id: "problems"});
    this.tiles = el("div", {class: "tiles"});
    this.memory = bar("wide");
    this.element = el(
      "section",
      {id: "overview", "aria-labelledby": "overview-title"},
      el("h2", {id: "overview-title", class: "hidden"}, "At a glance"),
      el("div", {class: "state"}, this.verdict, this.list),
      this.tiles,
    );
    this.setTable({targets: []});
  }

  setTable(table) {
    const target = (name) => {
      const found = table.targets.find((t) => t.name === name);
      return found ? targetElement(found) : null;
    };
    this.targets = table.targets;
    this.tiles.replaceChildren(
      tile(
        "Computed answers",
        figureElement("inline_request_seconds.computed.p50"),
        [
          "p50 of ",
          figureElement("inline_request_seconds.computed.n"),
          "; p95 ",
          figureElement("inline_request_seconds.computed.p95"),
        ],
        target("fresh"),
      ),
      tile(
        "Answers from caches",
        figureElement("inline_request_seconds.cached.p50"),
        [
          "p50 of ",
          figureElement("inline_request_seconds.cached.n"),
          "; p95 ",
          figureElement("inline_request_seconds.cached.p95"),
        ],
        target("cached"),
      ),
      tile(
        "Hit rate",
        figureElement("inline_cache_hits_total.rate"),
        ["of answers came from caches"],
        target("hit-rate"),
      ),
      tile("Tokens a second", figureElement("inline_predicted_tokens_total.speed"), [
        "while generating, ",
        figureElement("inline_predicted_tokens_total.n"),
        " in all; the first after ",
        figureElement("inline_first_token_seconds.p50"),
      ]),
      tile(
        "Memory",
        figureElement("inline_memory_bytes.value"),
        [
          "of ",
          figureElement("inline_memory_max_bytes.value"),
          ", ",
          figureElement("inline_memory_share.value"),
          this.memory,
        ],
        target("memory"),
      ),
      tile(
        "Errors",
        figureElement("inline_errors_total.n"),
        ["of ", figureElement("inline_requests_total.n"), " requests, ", figureElement("inline_errors_total.rate")],
        target("errors"),
      ),
    );
  }

  showNow(status, figures) {
    const found = problems(status, figures, this.targets);
    const alerts = firing(status);
    const isBad = alerts.length > 0 || found.some((problem) => problem.isBad);
    const text = isBad ? "Something is wrong" : found.length > 0 ? "Not all targets are met" : "All is well";
    setText(this.verdict, text);
    setAttribute(this.verdict, "data-state", isBad ? "bad" : found.length > 0 ? "warn" : "ok");
    keepRows(
      this.list,
      found,
      (problem) => problem.text.slice(0, 24),
      () => el("li"),
      (li, problem) => {
        setText(li, problem.text);
        li.className = problem.isBad ? "bad" : "warn";
      },
    );
    setBar(this.memory, readFigure(figures, "inline_memory_share.value"));
    showBanner(alerts);
    document.title = `${isBad ? "(!) " : ""}Inline: ${alerts.length ? alerts[0].message : text.toLowerCase()}`;
  }
}

function showBanner(alerts) {
  keepRows(
    byId("banner"),
    alerts,
    (alert) => alert.name,
    () => el("p", {}, el("strong"), el("span"), el("span", {class: "todo"})),
    (p, alert) => {
      p.className = alert.severity;
      setText(p.children[0], `${alert.severity} `);
      setText(p.children[1], alert.message);
      setText(p.children[2], alert.todo ? `: ${alert.todo}` : "");
    },
  );
}
