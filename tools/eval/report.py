"""Answers to figures, and figures to tables."""

import statistics

import places
import scores

ASKED = ("window", "off", "on", "llama")  # passes over the holes
PAIRS = (("on", "off"), ("on", "window"), ("on", "llama"))
KINDS = {"line": "line's rest", "block": "block", "cross": "cross-file"}
MEASURES = ("exact", "similarity", "names_it")


def _mean_of(rows, name):
    return scores.mean(float(row[name]) for row in rows)


def _summary(rows):
    known = [row["prompt_tokens"] for row in rows if row["prompt_tokens"] is not None]
    return {"n": len(rows), "exact": _mean_of(rows, "exact"), "exact_line": _mean_of(rows, "exact_line"),
            "similarity": _mean_of(rows, "similarity"), "prefix": _mean_of(rows, "prefix"),
            "prefix_share": _mean_of(rows, "prefix_share"),
            "empty": scores.mean(not row["text"].strip() for row in rows),
            "names_it": scores.mean(bool(row.get("names_it")) for row in rows),
            "shows_name": scores.mean(bool(row.get("shows_name")) for row in rows),
            "prompt_tokens": scores.mean(known) if known else None,
            "ms_median": statistics.median(row["ms"] for row in rows)}


def context(rows):
    """{kind of context: {"share" of prompts that have it, mean "tokens" over all}}, with the builder."""
    own = [row for row in rows if row["pass"] == "on"]
    kinds = sorted({kind for row in own for kind in row.get("context_tokens", {})})
    return {kind: {"share": scores.mean(kind in row["context_tokens"] for row in own),
                   "tokens": scores.mean(row["context_tokens"].get(kind, 0) for row in own)} for kind in kinds}


def _difference(a, b, measure):
    """Of pass a minus pass b, over the places that both have."""
    theirs = {row["key"]: row for row in b}
    pairs = [float(row.get(measure, 0)) - float(theirs[row["key"]].get(measure, 0)) for row in a if row["key"] in theirs]
    mean, low, high = scores.bootstrap(pairs)
    return {"n": len(pairs), "mean": mean, "low": low, "high": high}


def _languages(rows):
    return sorted({row["language"] for row in rows})


def holes(rows):
    """{kind: {language or "all": {"passes": {...}, "differences": {...}}}}"""
    found = {}
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind and row["pass"] in ASKED]
        for language in ("all", *_languages(of_kind)) if of_kind else ():
            chosen = [row for row in of_kind if language in ("all", row["language"])]
            by_pass = {name: [r for r in chosen if r["pass"] == name] for name in ASKED}
            by_pass = {name: own for name, own in by_pass.items() if own}
            differences = {f"{a}-{b}": {m: _difference(by_pass[a], by_pass[b], m) for m in MEASURES}
                           for a, b in PAIRS if a in by_pass and b in by_pass}
            found.setdefault(kind, {})[language] = {
                "passes": {name: _summary(own) for name, own in by_pass.items()}, "differences": differences}
    return found


def quiet(rows):
    """{pass: {kind: {"n", "quiet"}}}, and for holes in a line what was shown."""
    found = {}
    for name in ("quiet", "asked"):
        for kind in (*places.QUIET, "all"):
            own = [r for r in rows if r["pass"] == name and r["kind"] in places.QUIET and kind in ("all", r["kind"])]
            if own:
                found.setdefault(name, {})[kind] = {
                    "n": len(own), "quiet": scores.mean(not row["text"].strip() for row in own)}
    typed = [row for row in rows if row["pass"] == "quiet" and row["kind"] == "line"]
    if typed:
        shown = [row for row in typed if row["text"].strip()]
        found["holes"] = {"n": len(typed), "shown": len(shown) / len(typed),
                          "exact_of_shown": _mean_of(shown, "exact_line")}
    return found


def calibration(rows):
    pairs = [(row["mean_logprob"], row["exact_line"]) for row in rows
             if row["pass"] == "on" and row["kind"] in places.HOLES and row.get("mean_logprob") is not None
             and row["text"].strip()]
    return scores.calibration(pairs) if pairs else []


def figures(rows):
    return {"holes": holes(rows), "context": context(rows), "quiet": quiet(rows), "calibration": calibration(rows)}


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _percent(value):
    return "" if value is None or value != value else f"{value:.1%}"


def _number(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def _points(difference, scale=100, digits=1):
    return f"{scale * difference['mean']:+.{digits}f} ({scale * difference['low']:+.{digits}f} to " \
           f"{scale * difference['high']:+.{digits}f})"


def _pass_table(found):
    rows = [[KINDS[kind], name, str(s["n"]), _percent(s["exact"]), _percent(s["exact_line"]), f"{s['similarity']:.3f}",
             _number(s["prefix"], 1), _percent(s["empty"]), _number(s["prompt_tokens"]), _number(s["ms_median"])]
            for kind in found for name, s in found[kind]["all"]["passes"].items()]
    return _table(["holes", "pass", "n", "exact", "first line exact", "similarity", "prefix", "empty", "prompt tokens",
                   "ms"], rows)


def _difference_table(found):
    rows = [[KINDS[kind], pair.replace("-", " - "), str(d["exact"]["n"]), _points(d["exact"]),
             _points(d["similarity"], 1, 3)]
            for kind in found for pair, d in found[kind]["all"]["differences"].items()]
    return _table(["holes", "difference", "n", "exact, points (95 %)", "similarity (95 %)"], rows)


def _language_table(found):
    names = [name for name in ASKED if any(name in found[kind]["all"]["passes"] for kind in found)]
    rows = []
    for kind in found:
        for language, f in found[kind].items():
            if language != "all":
                cells = [f"{_percent(s['exact'])}, {s['similarity']:.3f} ({s['n']})" if s else ""
                         for s in map(f["passes"].get, names)]
                rows.append([KINDS[kind], language, *cells])
    return _table(["holes", "language", *(f"{name}: exact, similarity (n)" for name in names)], rows)


def _context_text(found):
    cross = found["holes"]["cross"]["all"]
    names = _table(["pass", "prompts that show the name", "answers that have it"],
                   [[name, _percent(s["shows_name"]), _percent(s["names_it"])] for name, s in cross["passes"].items()])
    gains = [f"{pair.replace('-', ' - ')} {_points(d['names_it'])}" for pair, d in cross["differences"].items()]
    table = _table(["context", "prompts that have it", "tokens, mean"],
                   [[kind, _percent(c["share"]), _number(c["tokens"], 1)] for kind, c in found["context"].items()])
    return f"The name that a cross-file hole needs:\n\n{names}\n\nAnswers that have it, points: {'; '.join(gains)}.\n\n{table}"


def _quiet_table(found):
    names = [name for name in ("quiet", "asked") if name in found]
    rows = [[kind, str(found[names[0]][kind]["n"]), *(_percent(found[name][kind]["quiet"]) for name in names)]
            for kind in (*places.QUIET, "all") if kind in found[names[0]]]
    heads = {"quiet": "quiet while typing", "asked": "quiet when asked"}
    return _table(["place", "n", *(heads[name] for name in names)], rows)


def _calibration_table(rows):
    return _table(["probability", "answers", "first line exact", "shown by a gate here", "exact of those"],
                  [[f"{r['from']:.1f} to {r['to']:.1f}", str(r["n"]), _percent(r["right"]), _percent(r["shown_above"]),
                    _percent(r["right_above"])] for r in rows])


def markdown(found):
    parts = []
    if found["holes"]:
        parts += ["Holes", _pass_table(found["holes"]), _difference_table(found["holes"]), "By language",
                  _language_table(found["holes"])]
    if found["context"] and "cross" in found["holes"]:
        parts += ["What the builder adds", _context_text(found)]
    if "quiet" in found["quiet"] or "asked" in found["quiet"]:
        parts += ["Places for silence", _quiet_table(found["quiet"])]
    if "holes" in found["quiet"]:
        h = found["quiet"]["holes"]
        parts.append(f"While typing, {_percent(h['shown'])} of {h['n']} holes in a line were answered; of those "
                     f"{_percent(h['exact_of_shown'])} exactly.")
    if found["calibration"]:
        parts += ["Calibration", _calibration_table(found["calibration"])]
    return "\n\n".join(parts)
