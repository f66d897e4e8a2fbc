// Lines and stacked areas over time, drawn by uPlot where it was built in. Every chart is also text: its legend
// shows the window's figures, and its points can be opened as a table. Without uPlot the tables are all there is.

import {isNumber, time} from "./format.js";
import {el, setText} from "./dom.js";

const DASHES = [[], [6, 4], [2, 3]];

export const hasCharts = typeof uPlot !== "undefined";

// The theme's colour of that name, as canvas wants it: rgb(…).
function color(name) {
  const probe = document.documentElement.appendChild(el("span", {hidden: true}));
  probe.style.color = `var(--${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function fade(rgb) {
  return rgb.replace("rgb(", "rgba(").replace(")", ", 0.4)");
}

// Each series on top of those before it; nothing where none of them has anything.
function withSums(series) {
  const isThere = (i) => series.some((s) => isNumber(s.values[i]));
  let below = [];
  return series.map((s) => {
    below = s.values.map((value, i) => (isThere(i) ? (value || 0) + (below[i] || 0) : null));
    return below;
  });
}

// The y axis: decades on a logarithmic one; else from zero to what is drawn, targets included.
function yScale(spec, targets) {
  if (spec.isLog) {
    return {
      distr: 3,
      range: (u, low, high) => {
        const all = [low, high, ...targets().map((t) => t.value)].filter((v) => v > 0);
        if (!all.length) return [0.001, 1];
        return [10 ** Math.floor(Math.log10(Math.min(...all))), 10 ** Math.ceil(Math.log10(Math.max(...all) * 1.05))];
      },
    };
  }
  return {
    range: (u, low, high) => {
      const most = Math.max(high || 0, ...targets().map((t) => t.value)) * 1.06;
      return [0, spec.most ? Math.min(Math.max(most, 1e-9), spec.most) : most || 1];
    },
  };
}

function decades(u, axis, low, high) {
  const first = Math.round(Math.log10(low));
  return Array.from({length: Math.round(Math.log10(high)) - first + 1}, (_, i) => 10 ** (first + i));
}

// Targets as dashed lines, named at their right end.
function drawTargets(u, targets, text) {
  const {ctx, bbox} = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  for (const target of targets) {
    const y = Math.round(u.valToPos(target.value, "y", true)) + 0.5;
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.strokeStyle = ctx.fillStyle = color("target");
    ctx.lineWidth = scale;
    ctx.setLineDash([5 * scale, 3 * scale]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    const isHigh = y - bbox.top < 16 * scale;
    ctx.textBaseline = isHigh ? "top" : "bottom";
    ctx.fillText(text(target), bbox.left + bbox.width - 2 * scale, y + (isHigh ? 3 : -2) * scale);
  }
  ctx.restore();
}

export class Chart {
  // spec: {title, isStack, isLog, most, format, targetText}; series come with every update.
  constructor(spec) {
    this.spec = spec;
    this.targets = [];
    this.series = [];
    this.canvas = el("div", {class: "canvas", "aria-hidden": "true"});
    this.readout = el("p", {class: "readout", hidden: true});
    this.points = el("tbody");
    this.head = el("thead");
    this.details = el(
      "details",
      {class: "points", ontoggle: () => this.fillPoints()},
      el("summary", {}, "As a table", el("span", {class: "hidden"}, `: ${spec.title}`)),
      el(
        "div",
        {class: "scroll", tabindex: "0", role: "region", "aria-label": `${spec.title}, points`},
        el("table", {}, el("caption", {class: "hidden"}, `${spec.title} over time`), this.head, this.points),
      ),
    );
    this.details.open = !hasCharts;
    this.canvas.hidden = !hasCharts;
    this.canvas.append(this.readout);
    if (hasCharts) new ResizeObserver(() => this.resize()).observe(this.canvas);
  }

  // The canvas takes what its panel leaves, so that panels of a row are of one height.
  size() {
    return {width: Math.floor(this.canvas.clientWidth) || 300, height: Math.floor(this.canvas.clientHeight) || 160};
  }

  resize() {
    const {width, height} = this.size();
    if (this.plot && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({width, height});
  }

  // times: seconds since 1970; series: [{name, label, color, values}], null where there is nothing.
  update(times, series, targets) {
    const isSame = series.map((s) => s.name).join() === this.series.map((s) => s.name).join();
    this.times = times;
    this.series = series;
    this.targets = targets;
    if (hasCharts) this.draw(isSame);
    if (this.details.open) this.fillPoints();
  }

  draw(isSame) {
    const values = this.spec.isStack ? withSums(this.series) : this.series.map((s) => s.values);
    const data = [this.times, ...values];
    if (this.plot && isSame) {
      this.plot.setData(data);
    } else {
      this.build(data);
    }
  }

  // Also when colours have changed with the theme.
  build(data) {
    const axis = {
      stroke: color("muted"),
      font: "11px system-ui, sans-serif",
      grid: {stroke: color("grid"), width: 1},
      ticks: {show: false},
    };
    const format = this.spec.format;
    this.plot?.destroy();
    this.plot = new uPlot(
      {
        ...this.size(),
        padding: [8, 16, 0, 0],
        legend: {show: false},
        cursor: {sync: {key: "inline"}, drag: {x: false, y: false}, points: {size: 6}, y: false},
        scales: {x: {time: true}, y: yScale(this.spec, () => this.targets)},
        axes: [
          {...axis, size: 24, gap: 4, space: 70, values: (u, at) => at.map((s) => time(s * 1000, at[1] - at[0] < 60))},
          {
            ...axis,
            size: 56,
            gap: 4,
            space: 30,
            ...(this.spec.isLog && {splits: decades}),
            values: (u, at) => at.map((v) => (v === null ? "" : format(v))),
          },
        ],
        series: [{}, ...this.series.map((s, i) => this.seriesOptions(s, i))],
        bands: this.spec.isStack ? this.series.slice(1).map((s, i) => ({series: [i + 2, i + 1]})) : [],
        hooks: {
          draw: [(u) => drawTargets(u, this.targets, this.spec.targetText)],
          setCursor: [(u) => this.readOut(u.cursor)],
        },
      },
      data,
      this.canvas,
    );
  }

  seriesOptions(series, i) {
    const stroke = color(series.color);
    if (this.spec.isStack) return {stroke, width: 1, fill: fade(stroke), points: {show: false}};
    return {
      stroke,
      width: 1.75,
      dash: DASHES[i % DASHES.length],
      points: {show: true, size: 4, width: 0, fill: stroke},
    }; // a moment without neighbours makes no line
  }

  restyle() {
    if (this.plot) this.build(this.plot.data);
  }

  // What stands under the pointer, on the side where the pointer is not.
  readOut({idx, left}) {
    const isOver = isNumber(idx) && this.times[idx] !== undefined && this.canvas.matches(":hover");
    this.readout.hidden = !isOver;
    if (!isOver) return;
    this.readout.classList.toggle("right", left < this.plot.width / 2);
    setText(
      this.readout,
      [time(this.times[idx] * 1000), ...this.series.map((s) => `${s.label} ${this.spec.format(s.values[idx])}`)].join(
        "\n",
      ),
    );
  }

  fillPoints() {
    if (!this.details.open || !this.times) return;
    this.head.replaceChildren(
      el(
        "tr",
        {},
        el("th", {scope: "col"}, "Time"),
        ...this.series.map((s) => el("th", {scope: "col", class: "number"}, s.label)),
      ),
    );
    this.points.replaceChildren(
      ...this.times
        .map((at, i) =>
          el(
            "tr",
            {},
            el("th", {scope: "row"}, time(at * 1000)),
            ...this.series.map((s) => el("td", {class: "number"}, this.spec.format(s.values[i]))),
          ),
        )
        .reverse(),
    );
  }
}
