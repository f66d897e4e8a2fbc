// What the page says in numbers. Each figure that it shows is an element with
//
//   data-figure  METRIC.LABEL.FIGURE, or METRIC.FIGURE for metrics without a label and for all labels together
//   data-value   its exact value, in the metric's unit; absent while there is none
//
// of the window that stands in data-window of <main>. The list of them, for tests:
//
//   inline_request_seconds.{cached,computed}.{p50,p95,p99,n}
//   inline_first_token_seconds.p50            inline_stage_seconds.STAGE.{mean,p95}
//   inline_requests_total.OUTCOME.n           inline_requests_total.n
//   inline_errors_total.n                     inline_errors_total.rate: of all requests
//   inline_cache_hits_total.SOURCE.n          inline_cache_hits_total.rate: hits, of hits and misses
//   inline_cache_misses_total.REASON.n        inline_quiet_total.REASON.n
//   inline_cache_entries.LEVEL.value          inline_cache_bytes.LEVEL.value
//   inline_prompt_tokens_total.SOURCE.n       inline_predicted_tokens_total.n
//   inline_predicted_tokens_total.speed: by the seconds of decoding, not by those of the window
//   inline_memory_bytes.PART.value            inline_memory_bytes.value: their sum
//   inline_memory_max_bytes.value             inline_memory_share.value
//   inline_cpu_share.{own,others}.value       inline_governor_{threads,speed,cpu_ceiling,background}.value
//   inline_suggestions_total.EVENT.n          inline_accepted_suggestions_checked_total.{kept,changed}.n
//   inline_requests_running.value             inline_requests_waiting.value
//
// Gauges are as they are now; "value" is theirs. Counters have n and per_second, histograms also quantiles.

import {bytes, count, isNumber, number, rate, seconds, share} from "./format.js";
import {el, setAttribute, setText} from "./dom.js";

const MISSES = "inline_cache_misses_total";
const REQUESTS = "inline_requests_total";

// The names of a metric's series that have anything in the window.
export function labels(figures, metric) {
  return Object.keys(figures[metric] || {});
}

function sum(figures, metric, figure) {
  return labels(figures, metric).reduce((total, label) => total + one(figures, metric, label, figure), 0);
}

function one(figures, metric, label, figure) {
  const series = (figures[metric] || {})[label];
  if (isNumber(series)) return figure === "value" ? series : null;
  return series ? series[figure] : figure === "n" || figure === "per_second" ? 0 : null;
}

// A part of a whole; null while there is no whole.
function part(value, whole) {
  return whole > 0 ? value / whole : null;
}

// The figure of that name, as in the list above; null: nothing was measured.
export function readFigure(figures, name) {
  const parts = name.split(".");
  const [metric, figure] = [parts[0], parts.at(-1)];
  if (parts.length === 3) return one(figures, metric, parts[1], figure);
  if (figure === "rate") {
    const n = sum(figures, metric, "n");
    return part(n, metric === "inline_errors_total" ? sum(figures, REQUESTS, "n") : n + sum(figures, MISSES, "n"));
  }
  if (figure === "speed") {
    const decode = (figures.inline_stage_seconds || {}).decode;
    return decode ? part(sum(figures, metric, "n"), decode.mean * decode.n) : null;
  }
  const names = labels(figures, metric);
  if (names.length === 1) return one(figures, metric, names[0], figure);
  return names.length || figure === "n" || figure === "per_second" ? sum(figures, metric, figure) : null;
}

// How a figure reads, by what it is a figure of.
export function formatFigure(name, value) {
  const figure = name.slice(name.lastIndexOf(".") + 1);
  if (figure === "n") return count(value);
  if (figure === "per_second") return rate(value);
  if (figure === "rate" || /_(share|speed|cpu_ceiling)\b/.test(name)) return share(value);
  if (/_seconds\b/.test(name)) return seconds(value);
  if (/_bytes\b/.test(name)) return bytes(value);
  if (name === "inline_governor_background.value") return value ? "allowed" : "held back";
  return number(value);
}

export function figureElement(name, attributes = {}) {
  return el("span", {...attributes, class: `figure ${attributes.class || ""}`.trim(), "data-figure": name});
}

// All figures of the page that are in the document.
export function showFigures(figures, root) {
  for (const element of root.querySelectorAll("[data-figure]")) {
    const name = element.dataset.figure;
    const value = readFigure(figures, name);
    setAttribute(element, "data-value", isNumber(value) ? value : null);
    setText(element, formatFigure(name, value));
  }
}

// --- What is normal ---

export function targetFigure(target) {
  return [target.metric, target.label, target.figure].filter(Boolean).join(".");
}

// "≤ 500 ms"
export function targetText(target) {
  return `${target.at_least ? "≥" : "≤"} ${formatFigure(targetFigure(target), target.value)}`;
}

// true, false, or null while there is nothing to judge.
export function isMet(target, figures) {
  const value = readFigure(figures, targetFigure(target));
  if (!isNumber(value)) return null;
  const series = (figures[target.metric] || {})[target.label || ""];
  if (series && series.n === 0) return null;
  return target.at_least ? value >= target.value : value <= target.value;
}

// A target beside its figure: "≤ 500 ms ok".
export function targetElement(target) {
  return el(
    "span",
    {class: "target", "data-target": target.name, title: target.help},
    `target ${targetText(target)} `,
    el("span", {class: "verdict"}),
  );
}

export function showTargets(targets, figures, root) {
  for (const element of root.querySelectorAll("[data-target]")) {
    const target = targets.find((t) => t.name === element.dataset.target);
    const met = target ? isMet(target, figures) : null;
    setAttribute(element, "data-met", met === null ? null : met);
    setText(element.querySelector(".verdict"), met === null ? "" : met ? "✓ ok" : "✗ not met");
  }
}
