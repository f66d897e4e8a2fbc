// Figures as people read them. Units are decimal, as everywhere in Inline.

const NOTHING = "–";

function digits(value) {
  return value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
}

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

export function number(value) {
  return isNumber(value) ? String(+value.toFixed(digits(value))) : NOTHING;
}

export function seconds(value) {
  if (!isNumber(value)) return NOTHING;
  if (value === 0) return "0 ms";
  if (value < 0.000995) return `${Math.round(value * 1e6)} µs`;
  if (value < 0.995) return `${+(value * 1e3).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  return `${number(value)} s`;
}

export function milliseconds(value) {
  return seconds(isNumber(value) ? value / 1e3 : value);
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  if (!isNumber(value)) return NOTHING;
  for (; value >= 999.5 && i < units.length - 1; i++) value /= 1000;
  return `${+value.toFixed(i > 0 && value < 9.95 ? 1 : 0)} ${units[i]}`;
}

export function count(value) {
  if (!isNumber(value)) return NOTHING;
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}

export function share(value) {
  if (!isNumber(value)) return NOTHING;
  const percent = value * 100;
  return `${+percent.toFixed(percent < 9.95 ? 1 : 0)} %`;
}

export function rate(value) {
  return isNumber(value) ? `${number(value)}/s` : NOTHING;
}

export function duration(value) {
  if (!isNumber(value)) return NOTHING;
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  if (value < 129600) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

// The clock's time of a moment in milliseconds since 1970.
export function time(ms, withSeconds = true) {
  const two = (n) => String(n).padStart(2, "0");
  const at = new Date(ms);
  const text = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return withSeconds ? `${text}:${two(at.getSeconds())}` : text;
}

// "partly_accepted" as words.
export function words(name) {
  return name.replaceAll("_", " ");
}
