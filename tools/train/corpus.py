#!/usr/bin/env python3
"""Makes the corpus: reads the fetched packages, keeps what filters.py lets through, removes duplicates.

First each package becomes a file of its own (files/, kept as long as the rules are the same), then all of them are
merged: held-out packages first, so that a text in both splits stays in the held-out one alone. The result is one
zstd-compressed JSON-lines file for each split and language, and stats.json.
"""

import argparse
import hashlib
import io
import json
import tarfile
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import zstandard
from tqdm import tqdm

import archives
import dedup
import filters
import licences
import packages

PACKAGE_LIMIT = 20 << 20  # bytes of one language from one package: none may outweigh the others
FORMAT = {"sort_keys": True, "ensure_ascii": False}


def write_lines(path, rows):
    part = path.with_suffix(".part")
    with part.open("wb") as raw, zstandard.ZstdCompressor(level=3).stream_writer(raw) as out:
        for row in rows:
            out.write(json.dumps(row, **FORMAT).encode() + b"\n")
    part.rename(path)


def read_lines(path):
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, "utf-8", newline="\n"):
            yield json.loads(line)


def rules_digest(seed):
    """Changes when a rule does."""
    digest = hashlib.blake2b(str((seed, PACKAGE_LIMIT)).encode(), digest_size=8)
    for module in (archives, dedup, filters, licences):
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def judged_files(package, paths, dropped):
    """(path, language, text) of the files that pass; counts the others by reason."""
    per_file = archives.debian_copyright(paths) if package.ecosystem == "debian" else None
    if per_file and not per_file.rules:
        per_file = None

    for archive in paths:
        if archive.suffix == ".pom" or ".debian.tar" in archive.name:
            continue
        inner = lambda name, archive=archive: archives.inner_path(package.ecosystem, archive, name)

        def wanted(name, size):
            path = inner(name)
            if not filters.candidate(path):
                return False
            reason = filters.skipped(path) or ("too short" if size < filters.MIN_BYTES else
                                               "too long" if size > filters.MAX_BYTES else None)
            if not reason and per_file and not licences.allowed(per_file.licence(path)):
                reason = "other licence"
            dropped[reason] += bool(reason)
            return not reason

        for name, data in archives.members(archive, wanted):
            language, text = filters.judge(inner(name), data, package.languages)
            if language:
                yield inner(name), language, text
            else:
                dropped[text] += 1


def limited(package, found, dropped):
    """At most PACKAGE_LIMIT bytes of a language, a sample by the paths' hashes, in the paths' order."""
    by_language = defaultdict(list)
    for file in found:
        by_language[file[1]].append(file)
    kept = []
    for files in by_language.values():
        files.sort(key=lambda f: filters.share(package.key, f[0]))
        size = 0
        for n, file in enumerate(files):
            size += len(file[2])
            if size > PACKAGE_LIMIT:
                dropped["over the package's limit"] += len(files) - n
                break
            kept.append(file)
    return sorted(kept)


def prepare(package, args, signer, rules):
    """The package's files, signatures and counts, made if they are not there or the rules changed."""
    base = args.work / "files" / package.key
    record = json.loads((args.work / "archives" / package.key / "record.json").read_text())
    state = {"rules": rules, "version": record["version"], "languages": list(package.languages)}
    summary = base.with_name(base.name + ".json")
    if summary.exists():
        made = json.loads(summary.read_text())
        if made["state"] == state:
            return made
    dropped = Counter()
    paths = [args.work / "archives" / package.key / name for name in record["archives"]]
    files = limited(package, judged_files(package, paths, dropped), dropped)
    base.parent.mkdir(parents=True, exist_ok=True)
    write_lines(base.with_name(base.name + ".jsonl.zst"),
                ({"path": p, "package": package.key, "language": l, "text": t} for p, l, t in files))
    signatures = np.array([signer.sign(t) for _, _, t in files], np.uint32).reshape(-1, dedup.BANDS * dedup.ROWS)
    np.save(base.with_name(base.name + ".npy"), signatures)
    del dropped[None]
    made = {"state": state, "files": len(files), "dropped": dropped}
    summary.write_text(json.dumps(made))
    return made


class Shards:
    """The output files, opened when first written to."""

    def __init__(self, folder):
        self.folder, self.open = folder, {}
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.jsonl.zst*"):
            old.unlink()

    def write(self, split, row):
        key = f"{split}.{row['language']}.jsonl.zst"
        if key not in self.open:
            raw = (self.folder / (key + ".part")).open("wb")
            self.open[key] = (raw, zstandard.ZstdCompressor(level=6).stream_writer(raw))
        self.open[key][1].write(json.dumps(row, **FORMAT).encode() + b"\n")

    def close(self):
        for key, (raw, out) in self.open.items():
            out.close()
            raw.close()
            (self.folder / (key + ".part")).rename(self.folder / key)


def merge(listed, args, total):
    """Writes the shards; returns files and bytes by split, language and package, and the duplicates dropped."""
    index = dedup.Index(total)
    exact, duplicates = set(), Counter()
    sizes = defaultdict(lambda: {"files": 0, "bytes": 0, "packages": {}})
    shards = Shards(args.work / "corpus")
    for package in tqdm(sorted(listed, key=lambda p: p.split), desc="merge", unit="package"):  # heldout < train
        base = args.work / "files" / package.key
        signatures = np.load(base.with_name(base.name + ".npy"))
        for signature, row in zip(signatures, read_lines(base.with_name(base.name + ".jsonl.zst"))):
            digest = hashlib.blake2b(row["text"].encode(), digest_size=12).digest()
            if digest in exact:
                duplicates["duplicate"] += 1
            elif not index.add(signature):
                duplicates["near-duplicate"] += 1
            else:
                shards.write(package.split, row)
                size = sizes[package.split, row["language"]]
                size["files"] += 1
                size["bytes"] += len(row["text"].encode())
                size["packages"][package.key] = size["packages"].get(package.key, 0) + len(row["text"])
            exact.add(digest)
    shards.close()
    return sizes, duplicates


def report(sizes, dropped):
    print(f"{'split':8} {'language':11} {'packages':>8} {'files':>8} {'MB':>8}")
    for split in ("train", "heldout"):
        for language in filters.LANGUAGES:
            size = sizes.get((split, language), {"packages": {}, "files": 0, "bytes": 0})
            print(f"{split:8} {language:11} {len(size['packages']):8} {size['files']:8} {size['bytes'] / 1e6:8.1f}")
    print(f"total {sum(s['bytes'] for s in sizes.values()) / 1e6:.1f} MB")
    for reason, n in dropped.most_common():
        print(f"dropped {n:8} {reason}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    packages.add_options(parser)
    args = parser.parse_args()
    listed = [p for p in packages.read(args.list) if (args.work / "archives" / p.key / "record.json").exists()]
    signer, rules = dedup.Signer(args.seed), rules_digest(args.seed)
    dropped, total = Counter(), 0
    unreadable = set()
    for package in tqdm(listed, desc="filter", unit="package"):
        try:
            made = prepare(package, args, signer, rules)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
            tqdm.write(f"{package.key}: left out, {type(error).__name__} {error}")
            unreadable.add(package.key)
            continue
        dropped.update(made["dropped"])
        total += made["files"]
    sizes, duplicates = merge([p for p in listed if p.key not in unreadable], args, total)
    dropped.update(duplicates)
    stats = {"sizes": {f"{s}.{l}": size for (s, l), size in sorted(sizes.items())}, "dropped": dropped}
    (args.work / "corpus" / "stats.json").write_text(json.dumps(stats, indent=1))
    report(sizes, dropped)


if __name__ == "__main__":
    main()
