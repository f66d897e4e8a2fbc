#!/usr/bin/env python3
"""Cut the holes that evaluate.py fills, from held-out packages.

  holes.py --work DIR [--list packages.tsv] [--out holes.jsonl.gz]

For each language 200 holes within a line and 50 of several lines, the same ones for the same corpus and seed. A
single-line hole goes from the start of a line's text or of a word in it to the line's end; comments, brackets
alone and texts under six characters do not count. A multi-line hole is the body of a block, two to six lines that
are indented more than the line that opens them. Packages take turns and a file gives at most two holes of a kind,
so that no package decides the result.

One JSON object a line: id, language, kind ("line" or "block"), path, package, version, licence, prefix (the last
1,500 characters at most, from the start of a line), middle, suffix (600 at most).
"""
import argparse
import gzip
import hashlib
import json
import random
import re
from collections import defaultdict
from pathlib import Path

import corpus
import packages

LANGUAGES = ("c", "cpp", "python", "javascript", "typescript", "go", "rust", "java")
COUNTS = {"line": 200, "block": 50}
PREFIX_MAX, SUFFIX_MAX = 1500, 600
MIN_MIDDLE = 6
MAX_LINE = 120      # characters; longer lines are mostly data
MIN_BEFORE = 200    # characters of context before a hole
BLOCK_LINES = (2, 6)
FILE_MAX = 4        # holes of a kind from one file, where there are not enough files
COMMENT = re.compile(r"\s*(//|#(?!\s*(include|define|if|else|endif|pragma))|/\*|\*|--|\"\"\"|''')")
OPENERS = ("{", ":", "(", "[")


def is_code(line):
    """Whether a line is worth completing: not a comment, prose (of a docstring), data, or brackets alone."""
    return (len(line) <= MAX_LINE and not COMMENT.match(line) and len(re.findall(r"\w", line)) >= 4
            and re.search(r"[=(){}\[\];]|:$|^\s*(return|import|from|case|break|continue|pass)\b", line) is not None)


def line_hole(rng, text, lines, starts):
    """Start and end of a middle in one line, or None after a few tries."""
    for _ in range(20):
        i = rng.randrange(len(lines))
        line = lines[i].rstrip()
        if starts[i] < MIN_BEFORE or not is_code(line):
            continue
        places = {len(line) - len(line.lstrip())} | {m.start() for m in re.finditer(r"(?<!\w)\w", line)}
        places = [p for p in sorted(places) if len(line) - p >= MIN_MIDDLE and not COMMENT.match(line[p:])]
        if places:
            at = starts[i] + rng.choice(places)
            if re.search(r"\w", text[at:starts[i] + len(line)]):
                return at, starts[i] + len(line)
    return None


def indent_of(line):
    return len(line) - len(line.lstrip())


def block_hole(rng, text, lines, starts):
    for _ in range(40):
        i = rng.randrange(len(lines))
        opener = lines[i].rstrip()
        if starts[i] < MIN_BEFORE or not opener.endswith(OPENERS) or COMMENT.match(opener):
            continue
        end = i + 1
        while end < len(lines) and lines[end].strip() and indent_of(lines[end]) > indent_of(opener):
            end += 1
        body = lines[i + 1:end]
        if BLOCK_LINES[0] <= len(body) <= BLOCK_LINES[1] and all(len(b) <= MAX_LINE for b in body) \
                and is_code(body[0]) and sum(map(is_code, body)) >= 2:
            at = starts[i + 1] + indent_of(body[0])
            return at, starts[end - 1] + len(lines[end - 1].rstrip())
    return None


CUTTERS = {"line": line_hole, "block": block_hole}


def cut(rng, row, kind):
    """The hole as a dictionary of its texts, or None."""
    text = row["text"]
    lines = text.split("\n")
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    place = CUTTERS[kind](rng, text, lines, starts)
    if not place:
        return None
    prefix, suffix = text[:place[0]], text[place[1]:]
    if len(prefix) > PREFIX_MAX:
        prefix = prefix[-PREFIX_MAX:]
        prefix = prefix[prefix.find("\n") + 1:]
    if len(suffix) > SUFFIX_MAX:
        suffix = suffix[:SUFFIX_MAX]
        suffix = suffix[:suffix.rfind("\n") + 1] or suffix
    return {"prefix": prefix, "middle": text[place[0]:place[1]], "suffix": suffix}


def by_turns(rng, rows):
    """Rows in an order in which packages take turns."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["package"]].append(row)
    queues = [groups[key] for key in sorted(groups)]
    for q in queues:
        rng.shuffle(q)
    for i in range(max(map(len, queues), default=0)):
        yield from (q[i] for q in queues if i < len(q))


def holes_of(language, rows, origin, seed):
    for kind, wanted in COUNTS.items():
        rng = random.Random(f"{seed}/{language}/{kind}")
        found, seen = 0, set()
        order = list(by_turns(rng, rows))
        for row in order * FILE_MAX:
            if found == wanted:
                break
            hole = cut(rng, row, kind)
            if not hole:
                continue
            digest = hashlib.sha256((hole["prefix"][-200:] + hole["middle"]).encode()).hexdigest()[:12]
            if digest in seen:
                continue
            seen.add(digest)
            found += 1
            yield {"id": digest, "language": language, "kind": kind, "path": row["path"], **origin(row["package"]), **hole}
        if found < wanted:
            print(f"{language}: only {found} of {wanted} holes of kind {kind}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    packages.add_options(parser)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("holes.jsonl.gz"))
    args = parser.parse_args()
    listed = {p.key: p for p in packages.read(args.list)} if args.list.exists() else {}

    def origin(key):
        record = json.loads((args.work / "archives" / key / "record.json").read_text(encoding="utf-8"))
        p = listed.get(key)
        return {"package": key.replace("--", ":", 1).replace("--", "/"), "version": record["version"],
                "licence": record.get("licence") or (p.licence if p else "")}

    with open(args.out, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        for language in LANGUAGES:
            path = args.work / "corpus" / f"heldout.{language}.jsonl.zst"
            rows = sorted(corpus.read_lines(path), key=lambda r: (r["package"], r["path"])) if path.exists() else []
            for hole in holes_of(language, rows, origin, args.seed):
                out.write(json.dumps(hole, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
