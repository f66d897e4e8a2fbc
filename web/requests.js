// The last requests as they come, and each one's story (GET /journal?id=ID) in a dialog.

import {ask, refusal} from "./stream.js";
import {byId, el, emptyNote, panel, row, setAttribute, table} from "./dom.js";
import {count, milliseconds, number, time} from "./format.js";

const ROWS = 50;

const COLUMNS = [
  {title: "Request"},
  {title: "At"},
  {title: "Via"},
  {title: "Outcome"},
  {title: "Answer"},
  {title: "Time", number: true},
  {title: "Where it went"},
  {title: "Prompt", number: true},
  {title: "Computed", number: true},
  {title: "Generated", number: true},
];

// Where a request's milliseconds went, and how they are called and coloured in the chart of stages.
const TIMES = [
  ["queue_ms", "queue", "c1"],
  ["load_ms", "waiting for the model", "c6"],
  ["context_ms", "context", "c2"],
  ["lookup_ms", "caches", "c3"],
  ["prefill_ms", "prefill", "c7"],
  ["decode_ms", "decode", "c8"],
  ["post_ms", "post-processing", "c9"],
];

function answerText(record) {
  if (record.quiet) return `nothing shown: ${record.quiet}`;
  if (record.source) return `found: ${record.source}`;
  if (record.error) return `error: ${record.error}`;
  if (record.outcome === "superseded") return record.other ? `by request ${record.other}` : "";
  return record.miss ? `computed: ${record.miss}` : "";
}

function stageBar(record) {
  const bar = el("span", {class: "stagebar", "aria-hidden": "true"});
  const total = TIMES.reduce((ms, [key]) => ms + (record[key] || 0), 0);
  for (const [key, , color] of TIMES) {
    if (!(record[key] > 0) || !(total > 0)) continue;
    const piece = el("span", {class: color});
    piece.style.width = `${(record[key] / total) * 100}%`;
    bar.append(piece);
  }
  return bar;
}

export class Requests {
  constructor() {
    this.table = table("The last requests, the newest first", COLUMNS, {class: "list requests"});
    this.empty = emptyNote("Nobody has asked for anything yet.");
    this.element = panel(
      "Requests",
      el(
        "p",
        {class: "note"},
        "The newest first. Open one for its story: where its milliseconds went, what broke the prefix, why nothing was shown.",
      ),
      el(
        "div",
        {class: "scroll tall", tabindex: "0", role: "region", "aria-label": "The last requests"},
        this.table.element,
      ),
      this.empty,
    );
    this.dialog = byId("story");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => this.opener?.focus());
  }

  // A daemon that was started again counts from what its journal has kept, or from 1.
  forget() {
    this.table.body.replaceChildren();
  }

  // Oldest first. One that is known already has been told of again.
  add(records) {
    for (const record of records) {
      const known = this.table.body.querySelector(`[data-id="${Number(record.id)}"]`);
      const element = this.makeRow(record);
      if (known) known.replaceWith(element);
      else this.table.body.prepend(element);
    }
    const rows = [...this.table.body.children];
    for (const old of rows.slice(ROWS)) {
      if (!old.contains(document.activeElement)) old.remove();
    }
    this.table.element.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
  }

  makeRow(record) {
    const id = Number(record.id);
    const button = el(
      "button",
      {type: "button", class: "link", "aria-haspopup": "dialog", "aria-label": `Story of request ${id}`},
      String(id),
    );
    const element = row(COLUMNS, [
      button,
      time(record.at_ms),
      record.api,
      record.outcome,
      answerText(record),
      milliseconds(record.total_ms),
      stageBar(record),
      count(record.prompt_tokens),
      count(record.computed),
      count(record.generated),
    ]);
    setAttribute(element, "data-id", id);
    setAttribute(element, "data-state", record.outcome);
    element.addEventListener("click", () => this.open(id, button));
    return element;
  }

  async open(id, button) {
    this.opener = button;
    this.show(id, el("p", {}, "Reading…"));
    this.dialog.showModal();
    try {
      const answer = await ask(`/journal?id=${id}`);
      this.show(id, ...(answer.ok ? storyElements(await answer.json()) : [el("p", {}, await refusal(answer))]));
    } catch {
      this.show(id, el("p", {}, "The daemon does not answer. Close this and try again when it does."));
    }
  }

  show(id, ...content) {
    const close = el("button", {type: "button", onclick: () => this.dialog.close()}, "Close");
    this.dialog.replaceChildren(
      el("div", {class: "dialog-head"}, el("h2", {id: "story-title"}, `Request ${id}`), close),
      ...content,
    );
    close.focus();
  }
}

function storyElements(record) {
  const stages = TIMES.filter(([key]) => record[key] > 0).map(([key, name, color]) =>
    el(
      "tr",
      {},
      el("th", {scope: "row"}, el("span", {class: `swatch ${color}`, "aria-hidden": "true"}), name),
      el("td", {class: "number"}, milliseconds(record[key])),
    ),
  );
  const facts = [
    ["Asked at", time(record.at_ms)],
    ["Took", milliseconds(record.total_ms)],
    ["Outcome", record.outcome],
    ["Answer", answerText(record)],
    ["Model", record.model],
    ["Via", record.api],
    ["Asked", record.priority],
    ["Editor told", record.fate],
    ["Stopped by", record.stop],
    [
      "Prompt",
      `${count(record.prompt_tokens)} tokens: ${count(record.reused)} reused, ${count(record.restored)} restored, ${count(record.moved)} moved, ${count(record.computed)} computed`,
    ],
    [
      "Generated",
      `${count(record.generated)} tokens (${count(record.accepted)} of ${count(record.drafted)} drafted ones were right), ${count(record.chars)} bytes`,
    ],
    ["Mean log probability", record.generated ? number(record.mean_logprob) : ""],
    ["Held back", record.throttled ? `yes, to ${number(record.speed)} of full speed` : ""],
  ];
  return [
    el("div", {class: "story"}, ...(record.story || []).map((sentence) => el("p", {}, sentence))),
    stageBar(record),
    el("table", {class: "legend"}, el("caption", {class: "hidden"}, "Time by stage"), el("tbody", {}, ...stages)),
    el(
      "dl",
      {class: "facts"},
      ...facts
        .filter(([, value]) => value)
        .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    ),
  ];
}
