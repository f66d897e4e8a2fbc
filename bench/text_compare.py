"""Whether two greedy answers are the same, and if they are not, how near to each other the two candidates were where
they part.

Two implementations of a model round differently. Where two tokens are nearly equally likely, they may choose
differently, and from there on all is different. So what is compared is the first place, by the log probabilities that
one of them (llama-server, n_probs) gives for its tokens."""

import bisect

NEAR_TIE = 0.1  # difference of log probabilities: one candidate is at most 1.1 times as likely as the other
TIE_BUCKETS = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
CONTROLS = bytes(c for c in (*range(32), 127) if c not in b"\t\n")
BACK_TOKENS = 4  # before the one with the first differing byte: what parts there may have been split otherwise


def common_length(a, b):
    n = 0
    for x, y in zip(a, b):
        if x != y:
            break
        n += 1
    return n


def whole(text):
    """Bytes, without a character that was cut in its middle."""
    return text.rstrip("\ufffd").encode("utf-8", "surrogatepass")


def shown(text):
    """As in suggestions, which hold no control characters."""
    return whole(text).translate(None, CONTROLS)


def relation(a, b):
    """"equal"; "cut": one is the beginning of the other, which may be empty; "different"."""
    a, b = shown(a), shown(b)
    if a == b:
        return "equal"
    return "cut" if a.startswith(b) or b.startswith(a) else "different"


class Token:
    """One that was generated, with the candidates that were most likely there."""

    def __init__(self, probabilities):
        self.bytes = bytes(probabilities["bytes"])
        self.logprob = probabilities["logprob"]
        self.candidates = [(bytes(c["bytes"]), c["logprob"]) for c in probabilities["top_logprobs"]]

    def tie(self):
        """How far the second candidate is behind the first."""
        best = sorted((logprob for _, logprob in self.candidates), reverse=True)
        return best[0] - best[1] if len(best) > 1 else float("inf")


def tokens_of(answer):
    """Of llama-server's answer, asked with n_probs."""
    return [Token(p) for p in answer.get("completion_probabilities", [])]


def tie_at_parting(tokens, theirs, ours):
    """How much less likely than its own tokens the server found what `ours` has instead: the smallest difference among
    the places where it can have parted from `theirs`, the text of these tokens. Infinite if none of the candidates
    leads to `ours`."""
    theirs, ours = whole(theirs), whole(ours)
    parting = common_length(theirs, ours)
    starts, end = [], 0
    for token in tokens:
        starts.append(end)
        end += len(token.bytes)
    last = bisect.bisect_right(starts, parting) - 1
    gap = float("inf")
    for i in range(max(0, last - BACK_TOKENS), last + 1):
        rest = ours[starts[i] :]
        for text, logprob in tokens[i].candidates:
            # The empty one is the end of the answer.
            is_ours = rest.startswith(text) if text else not rest
            if is_ours and text != tokens[i].bytes:
                gap = min(gap, tokens[i].logprob - logprob)
    return gap


def histogram(values):
    """Counts by TIE_BUCKETS: {"<0.001": n, ..., ">=1": n}."""
    names = [f"<{b:g}" for b in TIE_BUCKETS] + [f">={TIE_BUCKETS[-1]:g}"]
    counts = dict.fromkeys(names, 0)
    for value in values:
        counts[names[bisect.bisect_right(TIE_BUCKETS, value)]] += 1
    return counts
