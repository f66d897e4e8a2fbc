#!/usr/bin/env python3
"""Tokenises the corpus for the trainer, into tokens/ of the work folder.

  SPLIT.bin        uint16 ids of the documents, one after another, without special tokens between them
  SPLIT.idx.npy    int64 offsets into it, one per document and the end
  SPLIT.lang.npy   uint8 language of each document, an index into meta.json's "languages"
  SPLIT.paths.txt  a line per document: package, tab, path; documents of a package follow each other
  meta.json        vocabulary size, ids of the special tokens, languages, pre-tokenizer, tokenizer file

SPLIT is train or heldout; the packages of the two are different ones.
"""

import argparse
import json
import re
import shutil

import numpy as np
import tokenizers
from tqdm import tqdm

import corpus
import filters
import packages

BATCH = 256  # texts handed to the tokenizer at a time


def batches(rows):
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def pack(split, made, work, folder):
    """Writes the split's files; returns tokens by language."""
    stats = json.loads((work / "corpus" / "stats.json").read_text())["sizes"]
    offsets, languages, names = [0], [], []
    tokens = dict.fromkeys(filters.LANGUAGES, 0)
    with (folder / f"{split}.bin").open("wb") as out:
        for number, language in enumerate(filters.LANGUAGES):
            path = work / "corpus" / f"{split}.{language}.jsonl.zst"
            if not path.exists():
                continue
            bar = tqdm(total=stats[f"{split}.{language}"]["files"], desc=f"{split} {language}", unit="file")
            for batch in batches(corpus.read_lines(path)):
                for row, encoded in zip(batch, made.encode_batch([row["text"] for row in batch])):
                    np.array(encoded.ids, np.uint16).tofile(out)
                    offsets.append(offsets[-1] + len(encoded.ids))
                    languages.append(number)
                    names.append(row["package"] + "\t" + re.sub(r"\s", " ", row["path"]))
                    tokens[language] += len(encoded.ids)
                bar.update(len(batch))
            bar.close()
    np.save(folder / f"{split}.idx.npy", np.array(offsets, np.int64))
    np.save(folder / f"{split}.lang.npy", np.array(languages, np.uint8))
    (folder / f"{split}.paths.txt").write_text("\n".join(names), encoding="utf-8")
    return tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    packages.add_options(parser)
    args = parser.parse_args()
    source = args.work / "tokenizer"
    made = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    report = json.loads((source / "report.json").read_text())
    part = args.work / "tokens.part"  # becomes tokens/ when everything is there
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tokens = {split: pack(split, made, args.work, part) for split in ("heldout", "train")}
    shutil.copy(source / "tokenizer.json", part)
    special = {t.content: i for i, t in made.get_added_tokens_decoder().items()}
    meta = {"n_vocab": made.get_vocab_size(), "special": special, "languages": filters.LANGUAGES, "pre": report["pre"],
            "tokenizer": "tokenizer.json", "tokens": tokens}
    (part / "meta.json").write_text(json.dumps(meta, indent=1))
    final = args.work / "tokens"
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    for split, counts in tokens.items():
        print(split, f"{sum(counts.values()) / 1e6:.1f} M tokens:",
              ", ".join(f"{k} {v / 1e6:.1f}" for k, v in counts.items()))


if __name__ == "__main__":
    main()
