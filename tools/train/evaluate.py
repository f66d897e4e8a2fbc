#!/usr/bin/env python3
"""How well a model fills the holes of holes.jsonl.gz, through Inline's own engine.

  evaluate.py MODEL.gguf [MODEL.gguf...] [--lib build/libinline.so] [--holes FILE] [--n 200] [--json OUT]
  evaluate.py --checkpoint FILE.pt                     bits per byte of the middles, by PyTorch

The engine is libinline.so by its C API (include/inline.h), in this process: one loaded model for all holes.
Completion is greedy. Reported per language and kind of hole:

  exact       the suggestion is the middle: the first line for holes in a line, all lines for blocks; white space
              at line ends does not count
  similarity  1 - edit distance / length of the longer text, of the same texts, averaged
  ms          whole answer, median

Confidence intervals of `exact` are Wilson's at 95 %.
"""
import argparse
import ctypes
import gzip
import json
import math
import statistics
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ERROR_MAX = 512  # INLINE_ERROR_MAX
MAX_TOKENS = {"line": 48, "block": 192}


class Options(ctypes.Structure):
    _fields_ = [("isa", ctypes.c_char_p), ("n_threads", ctypes.c_int32), ("n_ctx", ctypes.c_int32)]


ON_TEXT = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


class Request(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("len", ctypes.c_size_t), ("cursor", ctypes.c_size_t),
                ("path", ctypes.c_char_p), ("max_tokens", ctypes.c_int32), ("max_prompt_tokens", ctypes.c_int32),
                ("temperature", ctypes.c_float), ("top_k", ctypes.c_int32), ("top_p", ctypes.c_float),
                ("min_p", ctypes.c_float), ("repeat_penalty", ctypes.c_float), ("infill", ctypes.c_bool),
                ("seed", ctypes.c_uint64), ("on_text", ON_TEXT), ("user", ctypes.c_void_p)]


class Result(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("len", ctypes.c_size_t), ("stop_reason", ctypes.c_char_p),
                ("prompt_tokens", ctypes.c_int32), ("reused_tokens", ctypes.c_int32),
                ("generated_tokens", ctypes.c_int32), ("prompt_ms", ctypes.c_double), ("generate_ms", ctypes.c_double)]


class Engine:
    """A model in libinline."""

    def __init__(self, lib, path, n_threads=0):
        self.lib = ctypes.CDLL(str(lib))
        self.lib.inline_open.restype = ctypes.c_void_p
        self.lib.inline_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(Options), ctypes.c_char_p]
        self.lib.inline_complete.restype = ctypes.c_bool
        self.lib.inline_complete.argtypes = [ctypes.c_void_p, ctypes.POINTER(Request), ctypes.POINTER(Result),
                                             ctypes.c_char_p]
        self.lib.inline_result_clear.argtypes = [ctypes.POINTER(Result)]
        self.lib.inline_close.argtypes = [ctypes.c_void_p]
        self.error = ctypes.create_string_buffer(ERROR_MAX)
        self.model = self.lib.inline_open(str(path).encode(), Options(n_threads=n_threads), self.error)
        if not self.model:
            sys.exit(f"evaluate.py: {self.error.value.decode()}")

    def complete(self, hole):
        """The suggestion, and milliseconds."""
        before, after = hole["prefix"].encode(), hole["suffix"].encode()
        request = Request(text=before + after, len=len(before + after), cursor=len(before),
                          path=hole["path"].encode(), max_tokens=MAX_TOKENS[hole["kind"]])
        result = Result()
        if not self.lib.inline_complete(self.model, request, result, self.error):
            sys.exit(f"evaluate.py: {hole['id']}: {self.error.value.decode()}")
        text = ctypes.string_at(result.text, result.len).decode("utf-8", "replace")
        ms = result.prompt_ms + result.generate_ms
        self.lib.inline_result_clear(result)
        return text, ms

    def close(self):
        self.lib.inline_close(self.model)


def normalise(text, kind):
    lines = [line.rstrip() for line in text.split("\n")]
    return lines[0] if kind == "line" else "\n".join(lines).rstrip()


def edit_distance(a, b):
    """Levenshtein, by rows."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def similarity(a, b):
    return 1.0 if a == b else 1 - edit_distance(a, b) / max(len(a), len(b))


def wilson(hits, n, z=1.96):
    centre = (hits + z * z / 2) / (n + z * z)
    half = z * math.sqrt(hits * (n - hits) / n + z * z / 4) / (n + z * z)
    return centre - half, centre + half


def read_holes(path, n):
    """At most n of each language and kind."""
    counts, holes = defaultdict(int), []
    with gzip.open(path, "rt", encoding="utf-8") as f:
        for line in f:
            hole = json.loads(line)
            key = hole["language"], hole["kind"]
            counts[key] += 1
            if not n or counts[key] <= n:
                holes.append(hole)
    return holes


def show_progress(name, done, total):
    if sys.stderr.isatty():
        print(f"{name}: {done}/{total}", end="\r" if done < total else "\n", file=sys.stderr)


def summarise(rows):
    n, hits = len(rows), sum(r["exact"] for r in rows)
    low, high = wilson(hits, n)
    return {"n": n, "exact": hits / n, "exact_low": low, "exact_high": high,
            "similarity": statistics.mean(r["similarity"] for r in rows), "ms": statistics.median(r["ms"] for r in rows)}


def evaluate(engine, name, holes):
    """Scores by kind and language, "all" being the mean over holes."""
    rows = defaultdict(list)
    for i, hole in enumerate(holes, 1):
        text, ms = engine.complete(hole)
        kind = hole["kind"]
        got, wanted = normalise(text, kind), normalise(hole["middle"], kind)
        row = {"exact": got == wanted, "similarity": similarity(got, wanted), "ms": ms}
        rows[kind, hole["language"]].append(row)
        rows[kind, "all"].append(row)
        show_progress(name, i, len(holes))
    return {kind: {language: summarise(r) for (k, language), r in rows.items() if k == kind}
            for kind in MAX_TOKENS if (kind, "all") in rows}


def print_table(name, scores):
    print(f"\n{name}\n\n| kind | language | holes | exact | 95 % | similarity | ms |\n|---|---|---|---|---|---|---|")
    for kind, by_language in scores.items():
        for language, s in sorted(by_language.items()):
            print(f"| {kind} | {language} | {s['n']} | {s['exact']:.1%} | {s['exact_low']:.1%} to {s['exact_high']:.1%} "
                  f"| {s['similarity']:.3f} | {s['ms']:.1f} |")


def checkpoint_bits(path, holes):
    """Bits per byte of the middles with their end token, suffix first, as the engine lays prompts out."""
    import torch

    from export import load
    model, t, _ = load(path)
    nats, n_bytes = defaultdict(float), defaultdict(int)
    with torch.no_grad():
        for hole in holes:
            middle = [*t.encode(hole["middle"]), t.end]
            ids = [t.file, *t.encode(hole["path"] + "\n"), t.suffix, *t.encode(hole["suffix"]), t.prefix,
                   *t.encode(hole["prefix"]), t.middle, *middle][-model.config.n_ctx:]
            losses = model.logits(torch.tensor(ids[:-1]), [len(ids) - 1])[-len(middle):]
            loss = torch.nn.functional.cross_entropy(losses, torch.tensor(middle), reduction="sum").item()
            for language in (hole["language"], "all"):
                nats[hole["kind"], language] += loss
                n_bytes[hole["kind"], language] += len(hole["middle"].encode())
    return {f"{kind} {language}": nats[kind, language] / math.log(2) / n_bytes[kind, language]
            for kind, language in sorted(nats)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--lib", default=HERE.parents[1] / "build" / "libinline.so")
    parser.add_argument("--holes", default=HERE / "holes.jsonl.gz")
    parser.add_argument("--n", type=int, default=0, help="holes of each language and kind; 0: all")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", help="write the scores to this file")
    parser.add_argument("--checkpoint", help="training checkpoint, for bits per byte")
    args = parser.parse_args()
    if not args.models and not args.checkpoint:
        parser.error("name a model or a --checkpoint")
    holes, report = read_holes(args.holes, args.n), {}
    for path in args.models:
        engine = Engine(args.lib, path, args.threads)
        report[path] = evaluate(engine, Path(path).name, holes)
        engine.close()
        print_table(Path(path).name, report[path])
    if args.checkpoint:
        report[args.checkpoint] = {"bits_per_byte": checkpoint_bits(args.checkpoint, holes)}
        print("\n| holes | bits per byte |\n|---|---|")
        for key, bits in report[args.checkpoint]["bits_per_byte"].items():
            print(f"| {key} | {bits:.4f} |")
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
