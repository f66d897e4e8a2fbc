// The charts' panels: which series of the history each one draws, and the window's figures in its legend.

import {Chart} from "./charts.js";
import {bytes, isNumber, rate, seconds, share, words} from "./format.js";
import {el, keepRows, panel, setAttribute} from "./dom.js";
import {figureElement, labels, readFigure, targetElement, targetFigure, targetText} from "./figures.js";

const QUANTILES = ["p50", "p95", "p99"];
const QUANTILE_COLORS = ["c1", "c2", "c4"];

// Labels in the order in which they are stacked, from below; each has its colour by its place.
const SOURCES = ["memory", "typed", "in-flight", "disk", "project", "team"];
const STAGES = [
  "queue",
  "context",
  "cache_memory",
  "cache_disk",
  "cache_project",
  "cache_team",
  "prefill",
  "decode",
  "post",
];
const PARTS = ["weights", "packs", "kv", "completions", "documents", "heap", "other"];
const OUTCOMES = ["ok", "superseded", "cancelled", "shed", "unavailable", "bad", "error"];
const PROMPT = ["reused", "restored", "moved", "computed"];

function seriesOf(history, metric, label) {
  return (history.metrics[metric] || {})[label];
}

// Present labels, in the order of `order`, which is the table's; colours stay with their labels.
function stacked(history, metric, order, values) {
  return order
    .map((label, i) => ({label, i, slots: seriesOf(history, metric, label)}))
    .filter(({slots}) => slots)
    .map(({label, i, slots}) => ({name: label, label: words(label), color: `c${(i % 9) + 1}`, values: values(slots)}));
}

function quantiles(label) {
  return (history) => {
    const slots = seriesOf(history, "inline_request_seconds", label);
    if (!slots) return [];
    return QUANTILES.map((q, i) => ({
      name: q,
      label: q,
      color: QUANTILE_COLORS[i],
      values: slots[q].map((v, k) => (slots.n[k] ? v : null)),
    }));
  };
}

function latency(title, label) {
  return {
    title,
    isLog: true,
    format: seconds,
    series: quantiles(label),
    isTarget: (t) => t.metric === "inline_request_seconds" && t.label === label,
    legend: (now) =>
      (readFigure(now, `inline_request_seconds.${label}.n`) ? QUANTILES : []).map((q, i) => ({
        name: q,
        color: QUANTILE_COLORS[i],
        line: i,
        figures: [`inline_request_seconds.${label}.${q}`],
      })),
  };
}

function legendOf(metric, order, figures) {
  return (now) =>
    order
      .filter((label) => labels(now, metric).includes(label))
      .map((label) => ({
        name: label,
        color: `c${(order.indexOf(label) % 9) + 1}`,
        figures: figures.map((figure) => `${metric}.${label}.${figure}`),
      }));
}

// Shares of all answers, slot by slot.
function answersBySource(history) {
  const hits = stacked(history, "inline_cache_hits_total", SOURCES, (slots) => slots.n);
  const misses = Object.values(history.metrics.inline_cache_misses_total || {}).map((slots) => slots.n);
  const all = [...hits.map((s) => s.values), ...misses];
  const total = (i) => all.reduce((n, values) => n + values[i], 0);
  return hits.map((s) => ({...s, values: s.values.map((n, i) => (total(i) ? n / total(i) : 0))}));
}

// One chart each. series(history) and legend(figures) give what is drawn, and the figures beside it;
// isTarget picks the targets that are lines in the chart, `listed` those that are told below it (the same, unless it
// is given); ceiling(figures) is a line that moves; `columns` head the legend's figures.
const SPECS = [
  {group: "speed", ...latency("Computed answers", "computed")},
  {group: "speed", ...latency("Answers from caches", "cached")},
  {
    group: "speed",
    title: "Time by stage",
    isStack: true,
    format: seconds,
    columns: ["mean", "p95"],
    note: "Mean of each stage. Together: a request that passes through all of them.",
    series: (history) =>
      stacked(history, "inline_stage_seconds", STAGES, (slots) => slots.n.map((n, i) => (n ? slots.sum[i] / n : 0))),
    isTarget: () => false,
    listed: (t) => t.metric === "inline_stage_seconds",
    legend: legendOf("inline_stage_seconds", STAGES, ["mean", "p95"]),
  },
  {
    group: "work",
    title: "Hit rate by level",
    isStack: true,
    format: share,
    most: 1,
    note: "Share of answers that were found, by where; the rest was computed.",
    series: answersBySource,
    isTarget: (t) => t.metric === "inline_cache_hits_total",
    legend: legendOf("inline_cache_hits_total", SOURCES, ["n"]),
  },
  {
    group: "work",
    title: "Prompt tokens",
    isStack: true,
    format: rate,
    note: "Tokens a second, by where their KV came from. Only the computed ones cost time.",
    series: (history) =>
      stacked(history, "inline_prompt_tokens_total", PROMPT, (slots) => slots.n.map((n) => n / history.slot_s)),
    isTarget: () => false,
    legend: legendOf("inline_prompt_tokens_total", PROMPT, ["n"]),
  },
  {
    group: "work",
    title: "Requests by outcome",
    isStack: true,
    format: rate,
    series: (history) =>
      stacked(history, "inline_requests_total", OUTCOMES, (slots) => slots.n.map((n) => n / history.slot_s)),
    isTarget: () => false,
    legend: legendOf("inline_requests_total", OUTCOMES, ["n"]),
  },
  {
    group: "machine",
    title: "Memory by part",
    isStack: true,
    format: bytes,
    series: (history) => stacked(history, "inline_memory_bytes", PARTS, (slots) => slots.value),
    isTarget: () => false,
    ceiling: (now) => (now.inline_memory_max_bytes || {})[""] || 0,
    legend: legendOf("inline_memory_bytes", PARTS, ["value"]),
  },
  {
    group: "machine",
    title: "Processors",
    isStack: true,
    format: share,
    most: 1,
    note: "Share of all processors.",
    series: (history) => stacked(history, "inline_cpu_share", ["own", "others"], (slots) => slots.value),
    isTarget: (t) => t.metric === "inline_cpu_share",
    legend: legendOf("inline_cpu_share", ["own", "others"], ["value"]),
  },
];

function legendRow(item) {
  return el(
    "tr",
    {},
    el(
      "th",
      {scope: "row"},
      el("span", {class: `swatch ${item.color} line${item.line || 0}`, "aria-hidden": "true"}),
      words(item.name),
    ),
    ...item.figures.map((name) => el("td", {class: "number"}, figureElement(name))),
  );
}

// What a line belongs to, where the panel's title does not say it.
function targetName(target) {
  return target.figure[0] === "p" ? target.figure : target.label;
}

class Timeline {
  constructor(spec) {
    this.spec = spec;
    this.chart = new Chart({...spec, targetText: (t) => t.text});
    this.rows = el("tbody");
    this.targets = el("p", {class: "targets"});
    const columns = spec.columns
      ? el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", {scope: "col"}, "Stage"),
            ...spec.columns.map((c) => el("th", {scope: "col", class: "number"}, c)),
          ),
        )
      : null;
    this.element = panel(
      spec.title,
      spec.note ? el("p", {class: "note"}, spec.note) : null,
      this.chart.canvas,
      el(
        "table",
        {class: "legend"},
        el("caption", {class: "hidden"}, `${spec.title}, the window's figures`),
        columns,
        this.rows,
      ),
      this.targets,
      this.chart.details,
    );
  }

  // Targets belong to the table of metrics, which comes once.
  setTable(table) {
    const listed = this.spec.listed || this.spec.isTarget;
    this.drawn = table.targets
      .filter(this.spec.isTarget)
      .map((t) => ({value: t.value, text: `${targetName(t)} target ${targetText(t)}`.trim()}));
    this.targets.replaceChildren(
      ...table.targets
        .filter(listed)
        .map((t) =>
          el(
            "span",
            {class: "target-line"},
            `${words(t.label || "")} ${t.figure[0] === "p" ? t.figure : ""} `.trimStart(),
            figureElement(targetFigure(t)),
            " ",
            targetElement(t),
          ),
        ),
    );
    this.targets.hidden = !this.targets.children.length;
  }

  showNow(figures) {
    keepRows(
      this.rows,
      this.spec.legend(figures),
      (item) => item.name,
      legendRow,
      () => {},
    );
    setAttribute(this.element, "data-empty", this.rows.children.length ? null : "");
    if (this.spec.ceiling) this.ceiling = this.spec.ceiling(figures);
  }

  showHistory(history) {
    const series = this.spec.series(history);
    const n = series.length ? series[0].values.length : 0;
    const times = Array.from({length: n}, (_, i) => history.end_s - (n - 1 - i) * history.slot_s);
    const lines = [...(this.drawn || [])];
    if (isNumber(this.ceiling) && this.ceiling > 0)
      lines.push({value: this.ceiling, text: `ceiling ${bytes(this.ceiling)}`});
    if (n) this.chart.update(times, series, lines);
  }
}

export class Timelines {
  constructor() {
    this.all = SPECS.map((spec) => new Timeline(spec));
  }

  elements(group) {
    return this.all.filter((t) => t.spec.group === group).map((t) => t.element);
  }

  setTable(table) {
    for (const t of this.all) t.setTable(table);
  }

  showNow(figures) {
    for (const t of this.all) t.showNow(figures);
  }

  showHistory(history) {
    this.history = history;
    for (const t of this.all) t.showHistory(history);
  }

  restyle() {
    for (const t of this.all) t.chart.restyle();
  }
}
