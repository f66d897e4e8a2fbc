#!/usr/bin/env python3
"""The quality of suggestions on code that no model of ours was trained on: holes in held-out packages, and places for silence.

  eval.py [--model NAME|FILE.gguf] [--quick] [--only PASSES] [--llama DIR] [--json OUT] [--markdown OUT]

Every pass asks one daemon about the same places, with the same model, greedily, with the same token limits:

  window   POST /infill with 256 lines before the cursor and 64 after it, as llama.vim sends them; no context builder
  off      as an editor asks (a language server session, the file and some it imports open); no context builder
  on       the same with the context builder and the project's index
  quiet    the same while the user types: what the gates let through, of places for silence and of holes in a line
  asked    places for silence, asked for explicitly: no gate applies
  llama    as window, to llama-server of a llama.cpp build (--llama DIR; for models that fill in the middle)

The first run gets the packages with the ordinary clients of their registries. Answers are kept below the cache's
folder as they come; a run that was interrupted goes on where it was, and --fresh begins anew. docs/quality.md has
figures."""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the repository stays clean
import daemon
import languages
import places
import report
import scores
import sources

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK_SHARE = 0.12
MAX_TOKENS = {"block": 160}  # of other kinds:
MAX_TOKENS_LINE = 48
LINES_BEFORE, LINES_AFTER = 256, 64  # g:llama_config's n_prefix and n_suffix
NEIGHBOURS = 3        # other files that are open

BUILDER = "context.builder"
OFF, ON = {BUILDER: "off"}, {BUILDER: "on"}
# Without the builder the daemon shows 20/44 of context.tokens before the cursor of a place it has not seen
# (context/builder.c): with this, what llama-server takes of llama.vim's window, 3/4 of 2,048 tokens.
WHOLE_WINDOW = {BUILDER: "off", "context.tokens": 3380}
PASSES = {  # settings, kinds of places
    "window": (WHOLE_WINDOW, places.HOLES),
    "off": (OFF, places.HOLES),
    "on": (ON, places.HOLES),
    "quiet": (ON, (*places.QUIET, "line")),
    "asked": (ON, places.QUIET),
    "llama": (None, places.HOLES),
}


def max_tokens(kind):
    return MAX_TOKENS.get(kind, MAX_TOKENS_LINE)


def log(text, end="\n"):
    print(f"eval: {text}", end=end, file=sys.stderr, flush=True)


class Results:
    """Answers by pass and place: lines of JSON, written as they come."""

    def __init__(self, path, is_fresh):
        self.path, self.rows = path, {}
        if path.exists() and not is_fresh:
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # the last line of a run that was killed
                    row = json.loads(line)
                    self.rows[row["pass"], row["key"]] = row
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "w" if is_fresh else "a", encoding="utf-8")

    def has(self, name, place):
        return (name, place.key) in self.rows

    def add(self, name, place, answer):
        row = {"pass": name, "key": place.key, "kind": place.kind, "language": place.language, **answer}
        self.rows[name, place.key] = row
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()


class Package:
    """A copy of a package's folder, in which files are cut as an editor's user has not written them yet."""

    def __init__(self, key, cache):
        self.tree = sources.tree(key, cache)
        self.texts = sources.texts(self.tree)

    def __enter__(self):
        self.made = tempfile.TemporaryDirectory(prefix="inline-eval-")
        self.root = pathlib.Path(self.made.name) / "project"
        shutil.copytree(self.tree, self.root)
        return self

    def __exit__(self, *_):
        self.made.cleanup()

    def write(self, path, text):
        """In one step: whoever reads at that moment finds the one or the other."""
        new = self.root.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.root / path)

    def neighbours(self, path):
        """Other files that an editor would have open: those whose names the file's imports have, then those that stand
        next to it. What a hole is about does not matter."""
        imports = [line for line in self.texts[path].split("\n") if languages.IMPORT.match(line)]
        words = set(re.findall(r"\w+", "\n".join(imports)))
        stem = lambda other: pathlib.PurePosixPath(other).stem
        folder = lambda other: str(pathlib.PurePosixPath(other).parent)
        others = [p for p in self.texts if p != path and languages.of_path(p) == languages.of_path(path)]
        paths = sorted(self.texts)
        distance = lambda other: abs(paths.index(other) - paths.index(path))
        order = sorted(others, key=lambda p: (stem(p) not in words, folder(p) != folder(path), distance(p), p))
        return order[:NEIGHBOURS]


class Window:
    """Asks through /infill, with the lines around the cursor as llama.vim sends them."""

    def __init__(self, port):
        self.port = port

    def ask(self, place, package):
        before, hole, after = place.cut(package.texts[place.path])
        lines, below = before.split("\n"), after.split("\n")
        head = lines[:-1][-LINES_BEFORE:]
        answer, ms = daemon.ask(self.port, "/infill", {
            "input_prefix": "".join(line + "\n" for line in head), "prompt": lines[-1],
            "input_suffix": "\n".join(below[:1 + LINES_AFTER]) + "\n", "input_extra": [],
            "n_predict": max_tokens(place.kind), "temperature": 0.0, "samplers": ["top_k"], "top_k": 1,
            "cache_prompt": True, "priority": "asked"})
        own = answer.get("inline", {})
        return {"text": answer["content"], "ms": ms, "prompt_tokens": answer.get("tokens_evaluated"),
                "stop": own.get("stop"), "mean_logprob": own.get("mean_logprob"), "shows_name": False}


class Session:
    """Asks as an editor does, about places of one package."""

    def __init__(self, server, package, trigger):
        self.server, self.package, self.trigger = server, package, trigger
        self.editor = daemon.Editor(server, package.root)
        self.open, self.path = [], None
        self.is_indexed = False

    def close(self):
        self.leave()
        self.editor.hang_up()

    def leave(self):
        if self.path:
            for path in self.open:
                self.editor.close(path)
            self.package.write(self.path, self.package.texts[self.path])

    def enter(self, path):
        self.leave()
        self.path, self.open = path, self.package.neighbours(path)
        for other in reversed(self.open):  # the likeliest was looked at last
            self.editor.open(other, languages.of_path(other), self.package.texts[other])

    def ask(self, place, package):
        if place.path != self.path:
            self.enter(place.path)
        before, hole, after = place.cut(package.texts[place.path])
        is_hole = place.kind in places.HOLES
        text = before + after if is_hole else before + hole + after
        package.write(place.path, text)
        self.editor.open(place.path, place.language, text)
        if not self.is_indexed:
            self.server.wait_idle()
            self.is_indexed = True
        self.editor.set_max_tokens(max_tokens(place.kind))
        at = place.at + (0 if is_hole else place.length)
        while at > place.at:
            text, at = self.editor.delete(place.path, text, at), at - 1
        item, own, ms = self.editor.complete(place.path, text, at, self.trigger)
        self.editor.close(place.path)
        pieces = own["explanation"]["context"]
        own_pieces = [piece["text"] for piece in pieces if piece["path"] == place.path]
        if is_hole and hole not in text and any(hole in piece for piece in own_pieces):
            raise RuntimeError(f"{place.key}: the prompt holds what was cut out")
        tokens = {}
        for piece in pieces:
            tokens[piece["kind"]] = tokens.get(piece["kind"], 0) + piece["tokens"]
        return {"text": item["insertText"] if item else "", "ms": ms, "prompt_tokens": own["prompt_tokens"],
                "computed": own["computed"], "stop": own["stop"], "quiet": own["quiet"],
                "mean_logprob": own["mean_logprob"], "context_tokens": tokens,
                "shows_name": place.kind == "cross" and any(place.name in words(piece["text"]) for piece in pieces)}


def words(text):
    return set(languages.IDENTIFIER.findall(text))


def ask_all(name, server, wanted, results, cache):
    """All places of a pass that have no answer yet."""
    todo = [place for place in wanted if not results.has(name, place)]
    start, n = time.monotonic(), 0
    for key in sorted({place.package for place in todo}):
        with Package(key, cache) as package, contextlib.ExitStack() as stack:
            if name in ("window", "llama"):
                asker = Window(server.port)
            else:
                asker = Session(server, package, daemon.AUTOMATIC if name == "quiet" else daemon.INVOKED)
                stack.callback(asker.close)
            own = [place for place in todo if place.package == key]
            for place in sorted(own, key=lambda place: (place.path, place.at)):
                answer = asker.ask(place, package)
                wanted_text = place.cut(package.texts[place.path])[1]
                if place.kind in places.HOLES:
                    answer.update(scores.score(place.kind, answer["text"], wanted_text))
                    answer["names_it"] = place.name in words(scores.first_line(answer["text"]))
                results.add(name, place, answer)
                n += 1
                left = (time.monotonic() - start) / n * (len(todo) - n)
                log(f"{name}: {n}/{len(todo)}, {left:.0f} s left   ", end="\r" if n < len(todo) else "\n")


def open_server(name, args):
    settings = PASSES[name][0]
    if name == "llama":
        return daemon.Server.of_llama(args.llama, args.model, os.cpu_count(), ["-c", "4096", "-np", "1"])
    return daemon.Daemon(args.program, args.model, {**dict(args.set), **settings})


def default_model(args):
    """The name of the model that the daemon takes if it is told none."""
    with daemon.Daemon(args.program, None, {}) as server:
        return daemon.ask(server.port, "/v1/models")[0]["data"][0]["id"]


def identity(args):
    """Names the file of answers: the same program, model, settings and places."""
    of_file = lambda path: hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    parts = [of_file(args.program), str(args.model), str(args.set), of_file(args.places)]
    return pathlib.Path(args.model).stem + "-" + hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build" / "inline", type=pathlib.Path)
    parser.add_argument("--model", help="a name or a file (default: the one that the daemon would take)")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], type=lambda s: tuple(s.split("=", 1)),
                        help="a setting of the daemon for all passes, as engine.threads=4")
    parser.add_argument("--places", default=places.LISTED, type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, default=sources.default_cache(),
                        help="where packages and answers are kept (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="about one place in eight")
    parser.add_argument("--only", help="some of the passes, separated by commas")
    parser.add_argument("--llama", help="folder of llama-server, to compare with")
    parser.add_argument("--fresh", action="store_true", help="forget the answers of earlier runs")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the tables to this file, too")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else [name for name in PASSES if name != "llama" or args.llama]
    if not set(names) <= set(PASSES):
        parser.error(f"passes are {', '.join(PASSES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemon ends, too
    args.model = args.model or default_model(args)
    listed = places.read(args.places)
    if args.quick:
        listed = places.sample(listed, QUICK_SHARE)
    results = Results(args.cache / "answers" / f"{identity(args)}.jsonl", args.fresh)
    for name in names:
        wanted = [place for place in listed if place.kind in PASSES[name][1]]
        if all(results.has(name, place) for place in wanted):
            continue
        with open_server(name, args) as server:
            ask_all(name, server, wanted, results, args.cache)
    keys = {place.key for place in listed}
    figures = report.figures([row for row in results.rows.values() if row["key"] in keys])
    text = report.markdown(figures)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
