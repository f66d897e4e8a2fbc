"""Near-duplicates by MinHash and locality-sensitive hashing.

A text is the set of its 5-grams of words. The share of equal values in two signatures estimates the Jaccard
similarity of the sets (Broder, "On the resemblance and containment of documents", 1997). A signature is cut into
bands; texts that agree in a whole band are candidates (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
chapter 3). 16 bands of 8 find a pair of similarity 0.8 with probability 0.95.
"""

import zlib

import numpy as np

SHINGLE = 5
BANDS, ROWS = 16, 8
SAME = 0.8

class Signer:
    """Signatures by multiply-shift hashing: (a x + b) >> 32 over 64 bits."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        draw = lambda n: rng.integers(0, 1 << 64, n, dtype=np.uint64)
        self.mix = draw(SHINGLE) | np.uint64(1)
        self.a = draw(BANDS * ROWS)[:, None] | np.uint64(1)
        self.b = draw(BANDS * ROWS)[:, None]

    def sign(self, text):
        words = text.encode().split()
        words += [b""] * (SHINGLE - len(words))
        hashes = np.fromiter(map(zlib.crc32, words), np.uint64, len(words))
        n = len(words) - SHINGLE + 1
        shingles = sum(hashes[i:i + n] * self.mix[i] for i in range(SHINGLE)) >> np.uint64(32)
        shingles = np.unique(shingles)
        lowest = np.full(BANDS * ROWS, (1 << 32) - 1, np.uint64)
        for part in range(0, len(shingles), 4096):  # keeps the table of hashes in the cache
            values = (self.a * shingles[part:part + 4096] + self.b) >> np.uint64(32)
            np.minimum(lowest, values.min(axis=1), out=lowest)
        return lowest.astype(np.uint32)


class Index:
    """The texts kept so far; add() says whether a text is new, and keeps it if so."""

    def __init__(self, capacity):
        self.kept = np.empty((capacity, BANDS * ROWS), np.uint32)
        self.n = 0
        self.bands = [{} for _ in range(BANDS)]

    def add(self, signature):
        keys = [signature[i * ROWS:(i + 1) * ROWS].tobytes() for i in range(BANDS)]
        for candidate in {band[key] for band, key in zip(self.bands, keys) if key in band}:
            if np.count_nonzero(self.kept[candidate] == signature) >= SAME * len(signature):
                return False
        for band, key in zip(self.bands, keys):
            band.setdefault(key, self.n)
        self.kept[self.n] = signature
        self.n += 1
        return True
