"""How good a suggestion is, and what many of them say together. Pure functions; tests/tools/test_eval.py holds them."""

import math
import random
import statistics

RESAMPLES = 2000
BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the geometric mean of the tokens' probabilities


def first_line(text):
    return text.split("\n", 1)[0].rstrip()


def whole(text):
    """All lines, without white space at their ends and the text's."""
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()


def edit_distance(a, b):
    """Levenshtein's, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def similarity(a, b):
    """1 - edit distance / length of the longer text."""
    return 1.0 if a == b else 1 - edit_distance(a, b) / max(len(a), len(b))


def common_prefix(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def score(kind, got, wanted):
    """The figures of one suggestion. Of holes in a line only the first line counts."""
    normalise = whole if kind == "block" else first_line
    a, b = normalise(got), normalise(wanted)
    return {"exact_line": first_line(got) == first_line(wanted), "exact": a == b, "similarity": similarity(a, b),
            "prefix": common_prefix(a, b), "prefix_share": common_prefix(a, b) / len(b)}


def mean(values):
    values = list(values)
    return statistics.fmean(values) if values else math.nan


def bootstrap(differences, seed=1):
    """The mean of paired differences with its 95 % interval, by the percentile bootstrap (Efron 1979) over pairs."""
    n = len(differences)
    if n == 0:
        return math.nan, math.nan, math.nan
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(differences, k=n)) / n for _ in range(RESAMPLES))
    return mean(differences), means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def calibration(pairs):
    """Of (mean log-probability, is right) pairs: by the geometric mean of the probabilities, how many there are and
    the share of right ones, in the bin and from its lower end upwards, which is what a gate at that end would show."""
    sure = [(math.exp(min(0.0, logprob)), is_right) for logprob, is_right in pairs]
    rows = []
    for low, high in zip(BINS, BINS[1:]):
        here = [right for p, right in sure if low <= p < high or p == high == 1.0]
        above = [right for p, right in sure if p >= low]
        rows.append({"from": low, "to": high, "n": len(here), "right": mean(here), "n_above": len(above),
                     "shown_above": len(above) / len(sure) if sure else math.nan, "right_above": mean(above)})
    return rows
