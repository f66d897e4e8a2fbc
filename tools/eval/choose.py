#!/usr/bin/env python3
"""Chooses the places that are asked about, and writes them into places.tsv. Needed only to make a new list.

  choose.py [--cache DIR] [--seed TEXT] [--out FILE]

Every language has the same number of holes of a kind; its packages take turns, and within a package its files, in an
order that a fixed seed shuffles. Holes are in code: not in comments, data or imports."""

import argparse
import pathlib
import random
import re
import sys
from collections import Counter

sys.dont_write_bytecode = True
import languages
import places
import sources

SEED = "inline-eval-1"
COUNTS = {"line": 19, "block": 8, "cross": 15, "in-word": 5, "in-number": 5, "deleting": 5, "after-statement": 5,
          "after-block": 5}  # of each language
FILE_MAX = 3       # places of a kind in one file
TRIES = 40
LINE_MAX = 120     # characters; longer lines are mostly data
BEFORE_MIN = 200   # characters of text before a place
REST_MIN = 3       # characters, not blank, of a line's rest
BLOCK_LINES = (2, 8)
DELETED = 4        # characters, at most
DEFINED_MAX = 3    # files that may define the name of a cross-file hole; more: it is a common one
MET_MAX = 10       # files of the package that may have it
OPENERS = ("{", ":", "(", "[")


class Names:
    """Where the names of all packages are defined and met."""

    def __init__(self):
        self.defined = {}   # {(package, name): paths}
        self.met = {}       # the same
        self.packages = {}  # {name: packages that have it}

    def add(self, source):
        for name in languages.definitions(source.path, source.text):
            self.defined.setdefault((source.package, name), set()).add(source.path)
        for name in source.words:
            self.met.setdefault((source.package, name), set()).add(source.path)
            self.packages.setdefault(name, set()).add(source.package)

    def is_foreign(self, source, name):
        """Whether other files of the package define this name, which is one of its own and not one of everybody's."""
        defined = self.defined.get((source.package, name), set())
        return (0 < len(defined) <= DEFINED_MAX and source.path not in defined and len(self.packages[name]) == 1
                and len(self.met[source.package, name]) <= MET_MAX)


class Source:
    """A file, by lines."""

    def __init__(self, package, path, text):
        self.package, self.path, self.text = package, path, text
        self.language = languages.of_path(path)
        self.lines = text.split("\n")
        self.starts, at = [], 0
        for line in self.lines:
            self.starts.append(at)
            at += len(line) + 1
        self.words = Counter(languages.IDENTIFIER.findall(text))
        self.prose = set()  # lines of comments and docstrings
        for match in languages.PROSE.finditer(text):
            first = text.count("\n", 0, match.start())
            self.prose.update(range(first, first + match.group().count("\n") + 1))

    def place(self, kind, at, length, name="-"):
        return places.Place(kind, self.language, self.package, self.path, at, length, places.digest(self.text), name)

    def is_code(self, i):
        """Whether a line is worth completing: not a comment, a docstring, data, an import, brackets alone."""
        line = self.lines[i]
        return (self.starts[i] >= BEFORE_MIN and len(line) <= LINE_MAX and i not in self.prose
                and not languages.COMMENT.match(line) and not languages.IMPORT.match(line)
                and len(re.findall(r"\w", line)) >= 4
                and re.search(r"[=(){}\[\];]|:$|^\s*(return|break|continue|pass)\b", line) is not None)


def indent_of(line):
    return len(line) - len(line.lstrip())


def token_starts(line):
    """Where the line's text begins, and where its words and operators do."""
    return sorted({indent_of(line)} | {m.start() for m in re.finditer(r"\w+|[^\w\s]+", line)})


def line_hole(rng, source, i, names):
    line = source.lines[i].rstrip()
    at = [p for p in token_starts(line) if len(re.sub(r"\s", "", line[p:])) >= REST_MIN
          and re.search(r"\w", line[p:]) and not languages.COMMENT.match(line[p:])]
    if source.is_code(i) and at:
        p = rng.choice(at)
        return source.place("line", source.starts[i] + p, len(line) - p)
    return None


def block_hole(rng, source, i, names):
    """What stands below a line that opens a block, indented more than it."""
    lines, opener = source.lines, source.lines[i].rstrip()
    if source.starts[i] < BEFORE_MIN or not opener.endswith(OPENERS) or languages.COMMENT.match(opener):
        return None
    end = i + 1
    while end < len(lines) and lines[end].strip() and indent_of(lines[end]) > indent_of(opener):
        end += 1
    n = end - i - 1
    is_whole = end < len(lines) and (not lines[end].strip() or indent_of(lines[end]) <= indent_of(opener))
    if not BLOCK_LINES[0] <= n <= BLOCK_LINES[1] or not is_whole or not source.is_code(i + 1) \
            or sum(source.is_code(j) for j in range(i + 1, end)) < 2:
        return None
    at = source.starts[i + 1] + indent_of(lines[i + 1])
    return source.place("block", at, source.starts[end - 1] + len(lines[end - 1].rstrip()) - at)


def is_distinct(name):
    """Made of several words, so that its meeting in another file is no accident."""
    return len(name) >= 6 and ("_" in name.strip("_") or re.search(r"[a-z][A-Z]", name) is not None)


def cross_hole(rng, source, i, names):
    """A line's rest with a name that other files define and that this file has nowhere else."""
    line = source.lines[i].rstrip()
    if not source.is_code(i):
        return None
    code = re.split(r"//|/\*|\s#\s", line)[0]
    code = re.sub(r"\"[^\"]*\"|'[^']*'|`[^`]*`", lambda m: " " * len(m.group()), code)
    wanted = [m for m in languages.IDENTIFIER.finditer(code) if is_distinct(m.group())
              and source.words[m.group()] == 1 and names.is_foreign(source, m.group())]
    if not wanted:
        return None
    name = rng.choice(wanted)
    p = rng.choice([p for p in token_starts(line) if p <= name.start()][-3:])  # at the name, or up to two tokens before
    return source.place("cross", source.starts[i] + p, len(line) - p, name.group())


def in_word(rng, source, i, names):
    found = [m for m in languages.IDENTIFIER.finditer(source.lines[i]) if m.end() - m.start() >= 5]
    if source.is_code(i) and found:
        m = rng.choice(found)
        return source.place("in-word", source.starts[i] + rng.randrange(m.start() + 2, m.end() - 1), 0)
    return None


def in_number(rng, source, i, names):
    found = list(re.finditer(r"(?<![\w.])\d{2,}(?![\w.])", source.lines[i]))
    if source.is_code(i) and found:
        m = rng.choice(found)
        return source.place("in-number", source.starts[i] + rng.randrange(m.start() + 1, m.end()), 0)
    return None


def deleting(rng, source, i, names):
    line = source.lines[i].rstrip()
    if source.is_code(i) and len(line.lstrip()) >= 3 * DELETED and " " not in line[-DELETED:]:
        n = rng.randrange(1, DELETED + 1)
        return source.place("deleting", source.starts[i] + len(line) - n, n)
    return None


def ends_statement(source, i):
    """Whether the statement of this line ends with it, as far as a line shows."""
    line = source.lines[i].rstrip()
    if source.language not in ("python", "go"):
        return line.endswith(";")
    text = re.sub(r"\"[^\"]*\"|'[^']*'", "", line)
    below = next((other for other in source.lines[i + 1:] if other.strip()), "")
    return (all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))
            and re.search(r"[\w)\]\"']$", line) is not None and indent_of(below) <= indent_of(line)
            and not re.match(r"[.)\]}+\-*/|&]", below.lstrip()))


def after_statement(rng, source, i, names):
    """At the end of a line that is complete, with more code below."""
    if source.is_code(i) and ends_statement(source, i) and i + 1 < len(source.lines) and source.lines[i + 1].strip():
        return source.place("after-statement", source.starts[i] + len(source.lines[i]), 0)
    return None


def after_block(rng, source, i, names):
    """Behind the last line of a file, or behind what closes a block of the outermost level."""
    line = source.lines[i]
    is_end = i == len(source.lines) - 1 and not line and source.starts[i] >= BEFORE_MIN
    if is_end or source.starts[i] >= BEFORE_MIN and re.match(r"\};?$", line):
        return source.place("after-block", source.starts[i] + len(line), 0)
    return None


CHOOSERS = {"line": line_hole, "block": block_hole, "cross": cross_hole, "in-word": in_word, "in-number": in_number,
            "deleting": deleting, "after-statement": after_statement, "after-block": after_block}


def in_turns(rng, files):
    """Files in an order in which packages take turns."""
    by_package = {}
    for source in files:
        by_package.setdefault(source.package, []).append(source)
    queues = [by_package[key] for key in sorted(by_package)]
    for queue in queues:
        rng.shuffle(queue)
    return [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]


def choose(kind, language, files, names, seed):
    """The places of a kind in a language's files. No two of them are in the same line."""
    rng = random.Random(f"{seed}/{kind}/{language}")
    found, taken = [], set()
    for source in in_turns(rng, files) * FILE_MAX:
        lines = list(range(len(source.lines)))
        rng.shuffle(lines)
        for i in lines if kind in ("cross", "after-block", "in-number") else lines[:TRIES]:
            place = (source.package, source.path, i) not in taken and \
                CHOOSERS[kind](rng, source, i, names)
            if place:
                taken.add((source.package, source.path, i))
                found.append(place)
                break
        if len(found) == COUNTS[kind]:
            break
    if len(found) < COUNTS[kind]:
        print(f"{language}: only {len(found)} of {COUNTS[kind]} of kind {kind}", file=sys.stderr)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=pathlib.Path, default=sources.default_cache())
    parser.add_argument("--seed", default=SEED, help="another one makes another list (default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=places.LISTED)
    args = parser.parse_args()
    names, by_language = Names(), {}
    for package in sources.CODE:
        own = sources.listed(package).languages
        for path, text in sources.texts(sources.tree(package, args.cache)).items():
            source = Source(package, path, text)
            names.add(source)
            if source.language in own and "test" not in path.lower() and "example" not in path.lower():
                by_language.setdefault(source.language, []).append(source)
    chosen = []
    for kind in COUNTS:
        for language in languages.LANGUAGES:
            chosen += choose(kind, language, by_language[language], names, args.seed)
    places.write(chosen, args.out)
    print(f"{args.out}: {len(chosen)} places, {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
