#!/usr/bin/env python3
"""Compare Inline's next-token probabilities and greedy text with other implementations'.

  compare.py --inline BIN [--llama-cpp DIR] [--transformers PATH] MODEL.gguf
  compare.py --fixtures DIR --llama-cpp DIR

The reference is transformers if it is asked for, else llama.cpp; whoever else is named is compared with it.
--llama-cpp: the directory of llama-server, which gets the same file. --transformers: the model's directory
as published, or the same GGUF file, whose weights are then expanded to float32 (needs torch, transformers,
gguf and accelerate from PyPI): the same weights computed without any rounding of activations.

For three fixed pieces of code it compares the tokens of the prompt, the reference's ten likeliest next tokens
with their log-probabilities, and 64 greedy tokens. All sides get the same token ids, so that a difference in
tokenization is reported once and does not hide the rest. Prints a Markdown table; docs/reference.md says how
to read it. The second form checks the numbers of tests/fixtures/models with llama.cpp: that the GGUF files
follow the conventions which another reader of such files expects.

INLINE_ISA=exact in the environment makes Inline compute without rounding activations, too.

Exit status 1 if Inline's prompt tokens differ from the reference's, or its likeliest token does where the
reference's has a clear lead.
"""
import argparse
import json
import math
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

N_TOP = 10
N_GREEDY = 64
N_THREADS = 2
CLEAR_LEAD = 0.5  # in log-probability: more than 8-bit activations have been seen to change in the top ten

PROMPTS = {
    "C": '''#include <stdio.h>
#include <string.h>

/* Count the lines of a file; -1 if it cannot be opened. */
static long count_lines(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    long n = 0;
    int c;
    while (''',
    "Python": '''import json
from pathlib import Path


def load_config(path: Path) -> dict:
    """Read a JSON file; an absent file is an empty configuration."""
    try:
        with open(path, encoding="utf-8") as f:
            return json''',
    "JavaScript": '''// Fibonacci numbers, smallest first.
function* fibonacci(limit) {
  let [a, b] = [0, 1];
  while (a < limit) {
    yield a;
    ''',
}


@dataclass
class Answer:
    """What an implementation says of a prompt."""
    tokens: list[int]           # the prompt's
    logprobs: dict[int, float]  # of the likeliest next tokens, best first
    greedy: list[int]           # shorter than asked for where the model ended the text
    leads: list[float] | None = None  # of each greedy token over the second best, in log-probability


class Inline:
    name = "Inline"

    def __init__(self, binary, model):
        self.command = [binary, "logits", model, "--json", "--top", str(N_TOP), "--greedy", str(N_GREEDY)]

    def ask(self, text):
        out = subprocess.run([*self.command, "--prompt", text], check=True, capture_output=True).stdout
        answer = json.loads(out)
        return Answer(answer["tokens"], {t["id"]: t["logprob"] for t in answer["top"]}, answer["greedy"])


class LlamaServer:
    """llama.cpp's server on a free loopback port, for one model."""
    name = "llama.cpp"
    START_SECONDS = 120

    def __init__(self, directory, model):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [Path(directory) / "llama-server", "-m", model, "--host", "127.0.0.1", "--port", str(port), "-c", "2048",
             "-np", "1", "-t", str(N_THREADS)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def wait_until_ready(self):
        end = time.monotonic() + self.START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"llama-server ended with status {self.process.returncode}")
            try:
                urllib.request.urlopen(self.url + "/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise SystemExit("llama-server did not become ready")

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)

    def tokenize(self, text):
        return self.post("/tokenize", {"content": text, "add_special": True})["tokens"]

    def ask(self, tokens, n_greedy=N_GREEDY):
        answer = self.post("/completion", {
            "prompt": tokens, "n_predict": n_greedy, "temperature": 0, "n_probs": N_TOP,
            "post_sampling_probs": False, "cache_prompt": False, "return_tokens": True})
        # Steps whose token ends inside a UTF-8 sequence are missing; then leads cannot be told apart.
        steps = [[t["logprob"] for t in s["top_logprobs"]] for s in answer["completion_probabilities"]]
        leads = [s[0] - s[1] for s in steps] if len(steps) == len(answer["tokens"]) else None
        first = answer["completion_probabilities"][0]["top_logprobs"]
        return Answer(tokens, {t["id"]: t["logprob"] for t in first}, answer["tokens"], leads)

    def close(self):
        self.process.terminate()
        self.process.wait()


class Transformers:
    """The model classes of the transformers library, in float32 on the CPU."""
    name = "transformers"

    def __init__(self, path):
        import torch
        import transformers
        self.torch = torch
        path = Path(path)
        source, options = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
        self.model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options).eval()
        # Tokenizers made from GGUF files are approximations; only a published one says anything.
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(source) if path.is_dir() else None

    def tokenize(self, text):
        return self.tokenizer(text)["input_ids"] if self.tokenizer else None

    def ask(self, tokens, n_greedy=N_GREEDY):
        with self.torch.no_grad():
            ids = self.torch.tensor([tokens])
            out = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), max_new_tokens=n_greedy,
                                      do_sample=False, output_logits=True, return_dict_in_generate=True)
        steps = self.torch.cat(out.logits).log_softmax(1).topk(N_TOP)
        return Answer(tokens, dict(zip(steps.indices[0].tolist(), steps.values[0].tolist())),
                      out.sequences[0, len(tokens):].tolist(), (steps.values[:, 0] - steps.values[:, 1]).tolist())

    def close(self):
        pass


def n_equal(a, b):
    """How many leading elements are the same."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def greedy_text(ours, reference):
    """How far greedy texts agree, and how clear the reference's choice was where they part."""
    n = min(len(ours.greedy), len(reference.greedy))
    same = n_equal(ours.greedy, reference.greedy)
    text = f"{same} of {n}"
    if same < n and reference.leads:
        text += f" (lead there {reference.leads[same]:.3f})"
    return text


HEADER = """| {} | prompt tokens | tokenization | likeliest | top {} in common | mean, largest log-probability difference \
| equal greedy tokens |
|---|---|---|---|---|---|---|"""


def compare(label, ours, reference, tokenization):
    """Prints one row of the table; returns false if the likeliest token differs from a clear one."""
    common = ours.logprobs.keys() & reference.logprobs.keys()
    errors = [abs(ours.logprobs[i] - reference.logprobs[i]) for i in common] or [math.nan]
    is_top_equal = next(iter(ours.logprobs)) == next(iter(reference.logprobs))
    first, second = list(reference.logprobs.values())[:2]
    print(f"| {label} | {len(ours.tokens)} | {tokenization} | {'equal' if is_top_equal else 'differs'} | "
          f"{len(common)} | {sum(errors) / len(errors):.4f}, {max(errors):.4f} | {greedy_text(ours, reference)} |",
          flush=True)
    return is_top_equal or first - second < CLEAR_LEAD


def compare_model(inline, others):
    """others: the reference comes last."""
    print(HEADER.format("compared, prompt", N_TOP))
    is_equal = True
    for label, text in PROMPTS.items():
        ours = inline.ask(text)
        answers = [o.ask(ours.tokens) for o in others]
        reference = others[-1]
        theirs = [t for t in (o.tokenize(text) for o in others) if t is not None]
        tokenization = "equal" if all(t == ours.tokens for t in theirs) else "differs"
        is_equal &= tokenization == "equal"
        is_equal &= compare(f"Inline to {reference.name}, {label}", ours, answers[-1], tokenization)
        for other, answer in zip(others[:-1], answers):
            compare(f"{other.name} to {reference.name}, {label}", answer, answers[-1], "")
    return is_equal


def read_fixture(path):
    """The expected answers of a fixture, by case. Logits become log-probabilities."""
    cases = {}
    for label, prompt, greedy, logits in re.findall(
            r"case (\w+)\nmargin .*\nprompt \d+ (.*)\ngreedy \d+ (.*)\nplain \d+ (.*)\n", path.read_text()):
        logits = [float(x) for x in logits.split()]
        total = math.log(sum(math.exp(x) for x in logits))
        best = sorted(range(len(logits)), key=lambda i: -logits[i])[:N_TOP]
        cases[label] = Answer([int(x) for x in prompt.split()], {i: logits[i] - total for i in best},
                              [int(x) for x in greedy.split()])
    return cases


def compare_fixtures(directory, llama_cpp):
    print(HEADER.format("fixture, prompt", N_TOP))
    is_equal = True
    for path in sorted(directory.glob("*.txt")):
        server = LlamaServer(llama_cpp, path.with_suffix(".gguf"))
        try:
            for label, expected in read_fixture(path).items():
                theirs = server.ask(expected.tokens, len(expected.greedy))
                is_equal &= compare(f"{path.stem}, {label}", expected, theirs, "")
        finally:
            server.close()
    return is_equal


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inline", help="path of the inline binary")
    parser.add_argument("--llama-cpp", help="directory of llama.cpp's binaries")
    parser.add_argument("--transformers", help="directory of the published model, or the GGUF file")
    parser.add_argument("--fixtures", type=Path, help="compare these fixtures instead of a model")
    parser.add_argument("model", nargs="?", help="GGUF file")
    args = parser.parse_args()
    if args.fixtures and args.llama_cpp:
        return 0 if compare_fixtures(args.fixtures, args.llama_cpp) else 1
    if not args.inline or not args.model or not (args.llama_cpp or args.transformers):
        parser.error("give --inline, a model, and --llama-cpp or --transformers or both")
    others = []
    try:
        if args.llama_cpp:
            others.append(LlamaServer(args.llama_cpp, args.model))
        if args.transformers:
            others.append(Transformers(args.transformers))
        return 0 if compare_model(Inline(args.inline, args.model), others) else 1
    finally:
        for other in others:
            other.close()


if __name__ == "__main__":
    sys.exit(main())
