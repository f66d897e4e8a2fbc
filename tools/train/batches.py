"""From tokenised documents to training batches, with fill-in-the-middle at character level.

Samples have a fixed place in a fixed order: sample i of epoch e is a chunk of a document, chosen by a permutation
seeded with (seed, e), and everything random about it is drawn from a generator seeded with (seed, e, i). The
state of the stream is therefore one number, the next sample, and a resumed run reads the same batches. A batch is
filled until no useful sample fits; what remains is padded, which is under one percent.

FIM cuts the text, not the tokens, so that a word may be cut where a cursor would be; the three parts are
tokenised apart, as at inference (Bavarian et al., arXiv 2207.14255). The layouts are those of the engine
(src/context/fim_prompt.c), with the "header" of files before them:

  SPM  header <|fim_suffix|> suffix <|fim_prefix|> prefix <|fim_middle|> middle <|endoftext|>
  PSM  header <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> middle <|endoftext|>
"""
import json
import multiprocessing
import os
import queue
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

EXTENSIONS = {"c": "c", "c++": "cpp", "cpp": "cpp", "python": "py", "javascript": "js", "typescript": "ts", "go": "go",
              "rust": "rs", "java": "java"}
MIN_ROOM = 96       # tokens; a shorter sample teaches little
FIM_OVERHEAD = 8    # the special tokens, and what tokenising the parts apart adds at most in practice
SHORT_SUFFIX = 700  # characters: about a quarter of a prompt of 1,024 tokens, the engine's share for suffixes


@dataclass(frozen=True)
class BatchConfig:
    batch_tokens: int = 16384   # tokens of one forward and backward pass
    max_sample: int = 2048      # tokens of one sample
    fim_rate: float = 0.6       # share of samples with a hole
    spm_rate: float = 0.5       # of those, with the suffix first
    name_rate: float = 0.75     # share of samples that begin with the file's name
    files_rate: float = 0.2     # of those, with other files of the repository before
    line_rate: float = 0.4      # of holes: from within a line to its end
    block_rate: float = 0.2     # of holes: some whole lines; the rest are arbitrary spans
    seed: int = 1


class Tokenizer:
    """tokenizer.json, with the special tokens that the layouts need."""

    def __init__(self, path):
        self.path = Path(path)
        self.hf = tokenizers.Tokenizer.from_file(str(path))
        special = self.hf.token_to_id
        self.end, self.prefix, self.suffix = (special("<|endoftext|>"), special("<|fim_prefix|>"),
                                              special("<|fim_suffix|>"))
        self.middle, self.pad = special("<|fim_middle|>"), special("<|fim_pad|>")
        self.repo, self.file = special("<|repo_name|>"), special("<|file_sep|>")

    def encode(self, text):
        return self.hf.encode(text, add_special_tokens=False).ids if text else []

    def encode_all(self, texts):
        return [e.ids for e in self.hf.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids):
        return self.hf.decode(ids, skip_special_tokens=True)

    def token_bytes(self):
        """Bytes of text that each token stands for; 0 for special ones. Byte-level BPE spells a byte as a
        character."""
        special = {i for i, t in self.hf.get_added_tokens_decoder().items() if t.special}
        sizes = np.zeros(self.hf.get_vocab_size(), np.int64)
        for text, i in self.hf.get_vocab().items():
            sizes[i] = 0 if i in special else len(text)
        return sizes


class Documents:
    def __init__(self, work, split):
        folder = Path(work) / "tokens"
        self.meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.n_vocab = self.meta.get("n_vocab") or self.meta["vocab_size"]
        self.languages = self.meta["languages"]
        self.tokenizer_path = folder / self.meta["tokenizer"]
        self.ids = np.memmap(folder / f"{split}.bin", np.uint16, "r")
        self.offsets = np.load(folder / f"{split}.idx.npy")
        self.lang = np.load(folder / f"{split}.lang.npy")
        names = folder / f"{split}.paths.txt"
        self.names = names.read_text(encoding="utf-8").split("\n") if names.exists() else None

    def __len__(self):
        return len(self.offsets) - 1

    def tokens(self, doc, start=0, end=None):
        a, b = self.offsets[doc], self.offsets[doc + 1]
        return self.ids[a + start:b if end is None else min(a + end, b)]

    def name(self, doc):
        """Repository or package (or None), and path. Where paths are not known, the extension still tells the language."""
        if self.names:
            repo, _, path = self.names[doc].rpartition("\t")
            return repo.partition("--")[2] or repo or None, path  # without the registry's name
        language = self.languages[self.lang[doc]].lower()
        return None, "main." + EXTENSIONS.get(language, language)

    def chunks(self, max_tokens):
        """(document, first token) of every piece of at most max_tokens, in two arrays."""
        lengths = np.diff(self.offsets)
        counts = np.maximum(1, -(-lengths // max_tokens))
        docs = np.repeat(np.arange(len(self)), counts)
        first = np.cumsum(counts) - counts
        return docs, (np.arange(len(docs)) - first[docs]) * max_tokens


def choose_hole(rng, text, c):
    """Start and end of the middle."""
    kind = rng.random()
    if kind < c.line_rate:
        start = int(rng.integers(0, len(text)))
        end = text.find("\n", start)
        return start, len(text) if end < 0 else end
    if kind < c.line_rate + c.block_rate:
        starts = [0] + [i + 1 for i, ch in enumerate(text) if ch == "\n"]
        a = int(rng.integers(0, len(starts)))
        b = a + int(rng.integers(1, 7))
        end = starts[b] - 1 if b < len(starts) else len(text)
        line_end = text.find("\n", starts[a])
        indent = len(text[starts[a]:]) - len(text[starts[a]:].lstrip(" \t"))
        start = min(starts[a] + indent, line_end if line_end >= 0 else len(text))
        return start, max(start, end)
    a, b = sorted(rng.integers(0, len(text) + 1, 2).tolist())
    return a, b


class Sampler:
    """Batches from a place in the order of samples. `next_sample` is its whole state."""

    def __init__(self, documents, tokenizer, config, next_sample=0):
        self.documents, self.tokenizer, self.config = documents, tokenizer, config
        self.next_sample = next_sample
        self.docs, self.starts = documents.chunks(config.max_sample - FIM_OVERHEAD)
        self.epoch, self.order = None, None

    def __len__(self):
        return len(self.docs)

    def _header(self, rng, doc, room):
        """Tokens that name the file, after the text of others of its repository where there is room."""
        c, t = self.config, self.tokenizer
        if rng.random() >= c.name_rate:
            return []
        repo, path = self.documents.name(doc)
        name = [t.file, *t.encode(path + "\n")]
        if len(name) > room // 4:
            return []
        if repo is None or rng.random() >= c.files_rate:
            return name
        before = [t.repo, *t.encode(repo + "\n")]
        left = room // 2 - len(name) - len(before)
        for other in (doc - 1, doc + 1):
            if not 0 <= other < len(self.documents) or self.documents.name(other)[0] != repo:
                continue
            ids = self.documents.tokens(other, 0, left + 1)
            other_name = [t.file, *t.encode(self.documents.name(other)[1] + "\n")]
            if len(ids) + len(other_name) + 1 > left:
                continue
            text = t.decode(ids)
            part = other_name + t.encode(text if text.endswith("\n") else text + "\n")
            before += part
            left -= len(part)
        return before + name

    def _fim(self, rng, text, room):
        c, t = self.config, self.tokenizer
        a, b = choose_hole(rng, text, c)
        prefix, middle, suffix = text[:a], text[a:b], text[b:]
        if len(suffix) > SHORT_SUFFIX and rng.random() < 0.5:
            suffix = suffix[:suffix.find("\n", SHORT_SUFFIX) + 1] or suffix
        prefix, middle, suffix = t.encode_all([prefix, middle, suffix])
        middle = middle[:room // 2]
        is_cut = len(middle) == room // 2
        excess = len(prefix) + len(middle) + len(suffix) + 4 - room
        if excess > 0:
            suffix = suffix[:max(len(suffix) - excess, len(suffix) // 2)]
            excess = len(prefix) + len(middle) + len(suffix) + 4 - room
            prefix = prefix[max(0, excess):]
        parts = [t.suffix, *suffix], [t.prefix, *prefix]
        first, second = parts if rng.random() < c.spm_rate else parts[::-1]
        return [*first, *second, t.middle, *middle] + ([] if is_cut else [t.end])

    def sample(self, index, room):
        """Tokens of a sample, at most room of them."""
        epoch, i = divmod(index, len(self))
        if epoch != self.epoch:
            self.order = np.random.default_rng((self.config.seed, epoch)).permutation(len(self))
            self.epoch = epoch
        rng = np.random.default_rng((self.config.seed, epoch, i))
        doc, start = int(self.docs[self.order[i]]), int(self.starts[self.order[i]])
        t = self.tokenizer
        header = self._header(rng, doc, room)
        room -= len(header)
        n = min(room, self.config.max_sample) - FIM_OVERHEAD
        ids = self.documents.tokens(doc, start, start + n)
        is_fim = rng.random() < self.config.fim_rate
        text = t.decode(ids)
        if start > 0 and "\n" in text:  # a chunk begins with a line
            text = text[text.index("\n") + 1:]
        if is_fim and len(text) > 1:
            return (header + self._fim(rng, text, room))[:room + len(header)]
        ends = self.documents.offsets[doc] + start + n >= self.documents.offsets[doc + 1]
        return header + t.encode(text)[:room - 1] + ([t.end] if ends else [])

    def batch(self):
        """(tokens, targets, lengths): one row. A target is the next token of the segment, or -1."""
        c, rows, room = self.config, [], self.config.batch_tokens
        while room >= MIN_ROOM:
            ids = self.sample(self.next_sample, min(room, c.max_sample))
            self.next_sample += 1
            if len(ids) < 2:
                continue
            rows.append(ids)
            room -= len(ids)
        if room > 0:
            rows.append([self.tokenizer.pad] * room)
        tokens = np.concatenate([np.asarray(r, np.int64) for r in rows])
        targets = np.full(len(tokens), -1, np.int64)
        lengths, at = [len(r) for r in rows], 0
        for n in lengths:
            targets[at:at + n - 1] = tokens[at + 1:at + n]
            at += n
        if room > 0:
            targets[-room:] = -1
        return tokens, targets, lengths


def _work(work, config, next_sample, out, parent):
    os.nice(5)
    documents = Documents(work, "train")
    sampler = Sampler(documents, Tokenizer(documents.tokenizer_path), config, next_sample)
    while os.getppid() == parent:
        item = (*sampler.batch(), sampler.next_sample)
        while os.getppid() == parent:
            try:
                out.put(item, timeout=5)
                break
            except queue.Full:
                pass


class Stream:
    """Batches made ahead by a process of its own. next_sample: where a resumed stream has to start."""

    def __init__(self, work, config, next_sample=0):
        context = multiprocessing.get_context("spawn")
        self.next_sample = next_sample
        self.queue = context.Queue(maxsize=6)
        self.process = context.Process(target=_work, args=(work, config, next_sample, self.queue, os.getpid()),
                                       daemon=True)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self.process.start()

    def batch(self):
        while True:
            try:
                tokens, targets, lengths, self.next_sample = self.queue.get(timeout=10)
                return tokens, targets, lengths
            except queue.Empty:
                if not self.process.is_alive():
                    raise RuntimeError("the process that prepares batches died; its message is above") from None

    def close(self):
        self.process.terminate()
        self.process.join()
