// Elements, made and changed. Text only ever becomes text: nothing here parses HTML.

// el("td", {class: "number", onclick: fn}, "text", child): null children are left out.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

// Only where it changes, so that nothing is laid out, or read out, for nothing.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// Rows that stay while their keys do: `make` builds the element of an item, `update` fills it in.
export function keepRows(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, i) => {
    const name = String(key(item));
    let row = known.get(name);
    if (row) {
      known.delete(name);
    } else {
      row = make(item);
      row.dataset.key = name;
    }
    if (parent.children[i] !== row) parent.insertBefore(row, parent.children[i] || null);
    update(row, item);
  });
  for (const row of known.values()) row.remove();
}

// A table with its caption and headings; columns: [{title, number, narrow}].
export function table(caption, columns, attributes = {}) {
  const head = columns.map((column) => el("th", {scope: "col", class: column.number && "number"}, column.title));
  const body = el("tbody");
  const element = el(
    "table",
    attributes,
    el("caption", {class: "hidden"}, caption),
    el("thead", {}, el("tr", {}, ...head)),
    body,
  );
  return {element, body};
}

// A row of such a table; `cells` are texts or elements. Each cell names its column, for when the table is folded.
export function row(columns, cells = []) {
  return el(
    "tr",
    {},
    ...columns.map((column, i) =>
      el(
        i === 0 ? "th" : "td",
        {
          scope: i === 0 && "row",
          class: column.number && "number",
          "data-title": column.title,
        },
        cells[i],
      ),
    ),
  );
}

// "Nothing yet" in place of rows that are not there.
export function emptyNote(text) {
  return el("p", {class: "note empty"}, text);
}

export function panel(title, ...children) {
  const id = `panel-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return el(
    "section",
    {class: "panel", id, "aria-labelledby": `${id}-title`},
    el("h3", {id: `${id}-title`}, title),
    ...children,
  );
}

// A share as a bar; its figure stands beside it as text.
export function bar(className = "") {
  return el("span", {class: `bar ${className}`, "aria-hidden": "true"}, el("span"));
}

export function setBar(element, value) {
  element.firstChild.style.width = `${Math.max(0, Math.min(1, value || 0)) * 100}%`;
}
