#!/usr/bin/env python3
"""Trains the tokenizer: byte-level BPE on equal shares of the languages, and reports bytes per token.

The special tokens have the names of the Qwen coder family, by which engines find out that a model does FIM. The
pre-tokenizer is one that the engine knows under a name (src/model/pretok_kinds.c); --compare trains one of each
kind on the same text and prints the bytes per token of both on held-out text.
"""

import argparse
import json
import random
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

import corpus
import filters
import packages

VOCABULARY = 16384
SPECIAL = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>",
           "<|file_sep|>"]

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")

PRETOKENIZERS = {
    "qwen2": [pre_tokenizers.Split(Regex(QWEN2), "isolated"),
              pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
    "starcoder": [pre_tokenizers.Digits(individual_digits=True),
                  pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)],
}


def sample(work, split, language, limit, seed):
    """At most `limit` bytes: each text with the probability that fills the limit."""
    path = work / "corpus" / f"{split}.{language}.jsonl.zst"
    if not path.exists():
        return
    stats = json.loads((work / "corpus" / "stats.json").read_text())
    kept = min(1.0, limit / stats["sizes"][f"{split}.{language}"]["bytes"])
    rng = random.Random(f"{seed} {split} {language}")
    for row in corpus.read_lines(path):
        if rng.random() < kept:
            yield row["text"]


def train(kind, args):
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(PRETOKENIZERS[kind])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=True,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2,
                                  max_token_length=32)
    texts = (text for language in filters.LANGUAGES
             for text in sample(args.work, "train", language, args.sample_mb * 1_000_000, args.seed))
    made.train_from_iterator(tqdm(texts, desc=f"read for {kind}", unit="file"), trainer)
    assert made.get_vocab_size() == VOCABULARY, "too little text for the vocabulary"
    return made


def bytes_per_token(made, args):
    """By language, on held-out text."""
    result = {}
    for language in filters.LANGUAGES:
        texts = list(sample(args.work, "heldout", language, 2_000_000, args.seed))
        if texts:
            ids = sum(len(e.ids) for e in made.encode_batch(texts))
            result[language] = round(sum(len(t.encode()) for t in texts) / ids, 3)
    result["mean"] = round(sum(result.values()) / len(result), 3)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    packages.add_options(parser)
    parser.add_argument("--kind", choices=PRETOKENIZERS, default="qwen2", help="the pre-tokenizer (default: %(default)s)")
    parser.add_argument("--sample-mb", type=int, default=12, help="text of each language (default: %(default)s)")
    parser.add_argument("--compare", action="store_true", help="train every kind, for the figures only")
    args = parser.parse_args()
    folder = args.work / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    report = {}
    for kind in PRETOKENIZERS if args.compare else [args.kind]:
        made = train(kind, args)
        report[kind] = bytes_per_token(made, args)
        print(kind, "bytes per token:", ", ".join(f"{k} {v}" for k, v in report[kind].items()))
        if kind == args.kind:
            made.save(str(folder / "tokenizer.json"))
    (folder / "report.json").write_text(json.dumps({"pre": args.kind, "bytes_per_token": report}, indent=1))


if __name__ == "__main__":
    main()
