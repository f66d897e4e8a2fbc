#!/usr/bin/env python3
"""Train the bundled model on the CPU.

  train.py --work DIR --run NAME [--size 15m] [--tokens 300e6]   train, or go on where the run stopped
  train.py --work DIR --profile                                   speed of a step and where its time goes
  train.py --work DIR --scale-run 10m,15m,20m --minutes 20        sizes and what each reaches in equal time

Reads DIR/tokens (see batches.py); writes DIR/runs/NAME: checkpoints (step-*.pt, the last three, and best.pt by
held-out loss), log.csv, loss.svg and config.json. A checkpoint is written every ten minutes, at the end, and on
SIGTERM or SIGINT; running the same command again goes on from the newest one and takes the same steps that an
uninterrupted run would have taken. SIGSTOP and SIGCONT are harmless: only the shown speed suffers.
"""
import argparse
import csv
import dataclasses
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as trace

from batches import BatchConfig, Documents, Sampler, Stream, Tokenizer
from chart import write_chart
from model import ATTENTION, SIZES, HeadLoss, Model, ModelConfig, attend, best_dtype
from optim import Optimizers

KEEP_CHECKPOINTS = 3
HELDOUT_SEED = 1234  # of the held-out batches, the same in all runs


@dataclass(frozen=True)
class TrainConfig:
    tokens: float = 300e6         # of the whole run
    step_tokens: int = 65536      # of an optimizer step
    optimizer: str = "muon"       # or adamw
    lr: float = 3e-3              # of the matrices (Muon is scaled to AdamW's step sizes)
    embedding_lr: float = 3e-3
    weight_decay: float = 0.1
    schedule: str = "wsd"         # warm-up, stable, linear decay; or cosine
    warmup: float = 0.01          # share of the run
    decay: float = 0.3            # share of the run, at its end (wsd)
    clip: float = 1.0             # gradient norm
    z_weight: float = 1e-4        # of the squared log of the softmax's sum
    eval_batches: int = 8
    eval_minutes: float = 10.0
    checkpoint_minutes: float = 10.0
    dtype: str = "auto"           # bf16 where the CPU multiplies it, else fp32
    compile: bool = True
    attention: str = "flash"      # or matmul: see model.py; --profile measures both
    threads: int = 0              # 0: PyTorch's choice
    seed: int = 1


def lr_factor(progress, c):
    """Of the learning rate, at a share of the run."""
    if progress < c.warmup:
        return max(progress / c.warmup, 1e-3)
    if c.schedule == "cosine":
        x = (progress - c.warmup) / (1 - c.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(x, 1.0)))
    return min(1.0, max(0.0, (1 - progress) / c.decay))


def build_model(model_config, c):
    dtype = {"auto": best_dtype, "bf16": lambda: torch.bfloat16, "fp32": lambda: torch.float32}[c.dtype]()
    model = Model(model_config, dtype, c.compile, c.attention)
    model.init_weights(c.seed)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    return model


def to_torch(batch):
    tokens, targets, lengths = batch
    return torch.from_numpy(tokens), torch.from_numpy(targets), lengths


class Heldout:
    """Held-out loss in bits per byte, of plain text and of the middles of suffix-first holes."""

    def __init__(self, work, tokenizer, batch_config, n_batches):
        documents = Documents(work, "heldout")
        self.token_bytes = torch.from_numpy(tokenizer.token_bytes())
        self.middle = tokenizer.middle
        self.batches = {}
        for kind, fim_rate in (("plain", 0.0), ("fim", 1.0)):
            config = dataclasses.replace(batch_config, fim_rate=fim_rate, spm_rate=1.0, files_rate=0.0, seed=HELDOUT_SEED)
            sampler = Sampler(documents, tokenizer, config)
            self.batches[kind] = [to_torch(sampler.batch()) for _ in range(n_batches)]

    def _is_counted(self, kind, tokens, targets, lengths):
        if kind == "plain":
            return targets >= 0
        masks = []
        for segment in tokens.split(lengths):
            masks.append((segment == self.middle).cumsum(0) > 0)
        return torch.cat(masks) & (targets >= 0)

    @torch.no_grad()
    def bits_per_byte(self, model):
        result = {}
        for kind, batches in self.batches.items():
            nats = n_bytes = 0.0
            for tokens, targets, lengths in batches:
                mask = self._is_counted(kind, tokens, targets, lengths)
                _, losses = model.loss(tokens, targets, lengths)
                nats += losses[mask].sum().item()
                n_bytes += self.token_bytes[targets[mask]].sum().item()
            result[kind] = nats / math.log(2) / max(n_bytes, 1)
        return result


class Run:
    """A training run and everything that a checkpoint holds."""

    def __init__(self, work, folder, model_config, batch_config, config, minutes=None):
        self.config, self.batch_config, self.model_config = config, batch_config, model_config
        self.work, self.folder, self.minutes = work, Path(folder), minutes
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        documents = Documents(work, "train")
        self.tokenizer = Tokenizer(documents.tokenizer_path)
        self.model = build_model(model_config, config)
        self.optimizers = Optimizers(self.model, config.optimizer, config.lr, config.embedding_lr, config.weight_decay)
        self.step = self.tokens = 0
        self.seconds, self.best, self.next_sample = 0.0, math.inf, 0
        self.is_stopping = False
        self._resume()
        self.heldout = Heldout(work, self.tokenizer, batch_config, config.eval_batches)

    # ---- Checkpoints ----

    def _checkpoints(self):
        return sorted(self.folder.glob("step-*.pt"))

    def _resume(self):
        checkpoints = self._checkpoints()
        if not checkpoints:
            return
        state = torch.load(checkpoints[-1], weights_only=True)
        if state["model_config"] != dataclasses.asdict(self.model_config):
            sys.exit(f"train.py: {checkpoints[-1]} is of a model of another size; choose another --run")
        self.model.load_state_dict(state["model"])
        self.optimizers.load_state_dict(state["optimizers"])
        torch.set_rng_state(state["rng"])
        for key in ("step", "tokens", "seconds", "best", "next_sample"):
            setattr(self, key, state[key])
        print(f"resumed {checkpoints[-1].name}", file=sys.stderr)

    def save(self, name=None):
        state = {"model": self.model.state_dict(), "optimizers": self.optimizers.state_dict(),
                 "rng": torch.get_rng_state(), "model_config": dataclasses.asdict(self.model_config),
                 "tokenizer": str(self.tokenizer.path.resolve())}
        for key in ("step", "tokens", "seconds", "best", "next_sample"):
            state[key] = getattr(self, key)
        path = self.folder / (name or f"step-{self.step:07d}.pt")
        with open(path.with_suffix(".part"), "wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(path.with_suffix(".part"), path)
        for old in self._checkpoints()[:-KEEP_CHECKPOINTS]:
            old.unlink()

    # ---- Training ----

    def progress(self):
        return self.seconds / (60 * self.minutes) if self.minutes else self.tokens / self.config.tokens

    def optimizer_step(self, next_batch):
        """One step; (loss per token, gradient norm, tokens)."""
        c, nats, n_targets, n_tokens = self.config, 0.0, 0, 0
        while n_tokens < c.step_tokens:
            tokens, targets, lengths = to_torch(next_batch())
            loss, _ = self.model.loss(tokens, targets, lengths, c.z_weight)
            loss.backward()
            nats += loss.item()
            n_targets += int((targets >= 0).sum())
            n_tokens += len(tokens)
        for p in self.model.parameters():
            p.grad.div_(n_targets)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.clip).item()
        self.optimizers.set_lr(lr_factor(self.progress(), c))
        self.optimizers.step()
        return nats / n_targets, norm, n_tokens

    def _stop(self, *_):
        self.is_stopping = True

    def _log(self, row):
        path = self.folder / "log.csv"
        is_new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def _evaluate(self, loss, norm):
        scores = self.heldout.bits_per_byte(self.model)
        self._log({"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds), "loss": f"{loss:.5f}",
                   "grad_norm": f"{norm:.3f}", "lr_factor": f"{lr_factor(self.progress(), self.config):.4f}",
                   "bpb_plain": f"{scores['plain']:.5f}", "bpb_fim": f"{scores['fim']:.5f}"})
        write_chart(self.folder / "log.csv", self.folder / "loss.svg")
        if scores["fim"] < self.best:
            self.best = scores["fim"]
            self.save("best.pt")
        return scores

    def _show(self, loss, speed, scores):
        share = min(self.progress(), 1.0)
        left = self.seconds * (1 - share) / share if share > 0 else 0
        text = (f"{share:6.1%}  step {self.step}  {self.tokens / 1e6:.1f}M tokens  loss {loss:.4f}  "
                f"{speed / 1e3:.1f}k tokens/s  left {left / 3600:.1f} h")
        if scores:
            text += f"  held-out bits per byte: plain {scores['plain']:.4f}, fim {scores['fim']:.4f}"
        is_tty = sys.stderr.isatty()
        if is_tty or self.step % 20 == 0 or scores:
            print(text, end="\r" if is_tty and not scores else "\n", file=sys.stderr, flush=True)

    def train(self, max_steps=None):
        """To the end, or until a signal. Returns the last held-out scores."""
        c, scores, loss, norm = self.config, None, math.nan, math.nan
        for s in (signal.SIGTERM, signal.SIGINT):
            signal.signal(s, self._stop)
        stream = Stream(self.work, self.batch_config, self.next_sample)
        saved_at = evaluated_at = time.monotonic()
        speed, until = None, math.inf if max_steps is None else self.step + max_steps
        try:
            while self.progress() < 1 and self.step < until and not self.is_stopping:
                started = time.monotonic()
                loss, norm, n = self.optimizer_step(stream.batch)
                took = time.monotonic() - started
                self.step, self.tokens, self.seconds = self.step + 1, self.tokens + n, self.seconds + took
                self.next_sample = stream.next_sample
                speed = n / took if speed is None else 0.9 * speed + 0.1 * n / took
                scores = None
                if time.monotonic() - evaluated_at > 60 * c.eval_minutes:
                    scores = self._evaluate(loss, norm)
                    evaluated_at = time.monotonic()
                self._show(loss, speed, scores)
                if time.monotonic() - saved_at > 60 * c.checkpoint_minutes:
                    self.save()
                    saved_at = time.monotonic()
        finally:
            stream.close()
        self.save()
        if self.is_stopping:
            print(f"\nstopped at step {self.step}; the same command goes on from here", file=sys.stderr)
            return None
        scores = self._evaluate(loss, norm)
        self._show(loss, speed or 0, scores)
        self.save()
        return scores


# ---- Profile and scale run ----

def matmul_tflops(dtype):
    a = torch.randn(4096, 1024).to(dtype)
    b = torch.randn(1024, 1024).to(dtype)
    a @ b
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < 1.0:
        a @ b
        n += 1
    return 2 * 4096 * 1024 * 1024 * n / (time.perf_counter() - started) / 1e12


def timed(f, repeat=3):
    f()
    started = time.perf_counter()
    for _ in range(repeat):
        f()
    return (time.perf_counter() - started) / repeat


def profile(work, model_config, batch_config, c):
    model = build_model(model_config, c)
    optimizers = Optimizers(model, c.optimizer, c.lr, c.embedding_lr, c.weight_decay)
    documents = Documents(work, "train")
    sampler = Sampler(documents, Tokenizer(documents.tokenizer_path), batch_config)
    started = time.perf_counter()
    batch = sampler.batch()
    data_seconds = time.perf_counter() - started
    tokens, targets, lengths = to_torch(batch)
    n = len(tokens)

    def hidden():
        return model.hidden(tokens, lengths)

    def step():
        model.loss(tokens, targets, lengths, c.z_weight)[0].backward()

    with torch.no_grad():
        forward = timed(hidden)
        h = hidden()
    weight = model.embedding
    h = h.detach().requires_grad_()
    head = timed(lambda: HeadLoss.apply(h, weight, targets, c.z_weight)[0].backward())
    whole = timed(step)
    mc = model_config
    q = torch.randn(mc.n_kv_heads, mc.n_heads // mc.n_kv_heads, n, mc.d_head).to(model.dtype).requires_grad_()
    k = torch.randn(mc.n_kv_heads, 1, n, mc.d_head).to(model.dtype).requires_grad_()
    by_kind = {kind: mc.n_layers * timed(lambda kind=kind: attend(q, k, k, lengths, kind).sum().backward())
               for kind in ATTENTION}
    attention = by_kind[c.attention]
    update = timed(optimizers.step)
    flops, peak = model.step_flops(lengths), matmul_tflops(model.dtype)
    print(f"{mc.n_params() / 1e6:.1f}M parameters, {model.dtype}, {torch.get_num_threads()} threads, "
          f"{n} tokens a batch in {len(lengths)} segments, {c.step_tokens} a step, compile={c.compile}")
    print(f"matmul 4096x1024x1024: {peak:.3f} TFLOP/s")
    rows = [("head and loss", head, flops["head"]), ("attention", attention, flops["attention"]),
            ("blocks' matrices and the rest", whole - head - attention, flops["blocks"]),
            ("forward and backward", whole, sum(flops.values())), ("(forward of the blocks alone)", forward, None)]
    for name, seconds, f in rows:
        rate = f"{f / seconds / 1e12:.3f} TFLOP/s" if f else ""
        print(f"{name:32}{seconds * 1e3:9.1f} ms {seconds / whole:6.1%}  {rate}")
    per_step = whole * c.step_tokens / n + update
    print(f"{'optimizer step':32}{update * 1e3:9.1f} ms {update / per_step:6.1%} of a step")
    for kind, seconds in by_kind.items():
        print(f"{'attention by ' + kind:32}{seconds * 1e3:9.1f} ms  {flops['attention'] / seconds / 1e12:.3f} TFLOP/s")
    print(f"{'batch, in the background':32}{data_seconds * 1e3:9.1f} ms")
    speed = c.step_tokens / per_step
    print(f"{speed:.0f} tokens/s; {sum(flops.values()) / whole / 1e12 / peak:.0%} of the matmul speed; "
          f"{c.tokens / 1e6:.0f}M tokens in {c.tokens / speed / 3600:.1f} h")
    with trace(activities=[ProfilerActivity.CPU]) as p:
        step()
    print(p.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=50))


def scale_run(args, names, batch_config, c, n_vocab):
    rows = []
    for name in names:
        mc = ModelConfig(n_vocab=n_vocab, **SIZES[name])
        run = Run(args.work, Path(args.work) / "runs" / f"scale-{name}-{c.optimizer}", mc, batch_config, c, args.minutes)
        scores = run.train()
        if scores is None:
            return
        rows.append((name, mc.n_params(), run.tokens, run.tokens / run.seconds, scores))
    print("| size | parameters | tokens seen | tokens/s | bits per byte, plain | bits per byte, FIM |")
    print("|---|---|---|---|---|---|")
    for name, n, seen, speed, s in rows:
        print(f"| {name} | {n / 1e6:.1f}M | {seen / 1e6:.1f}M | {speed:.0f} | {s['plain']:.4f} | {s['fim']:.4f} |")


# ---- Command line ----

def add_flags(parser, cls):
    for f in dataclasses.fields(cls):
        if f.name == "seed" and cls is BatchConfig:
            continue
        kind = (lambda s: s.lower() in ("1", "true", "yes")) if f.type is bool else f.type
        parser.add_argument("--" + f.name.replace("_", "-"), type=kind, default=f.default, help=f"default: {f.default}")


def from_flags(cls, args):
    return cls(**{f.name: getattr(args, f.name) for f in dataclasses.fields(cls)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--run", default="run")
    parser.add_argument("--size", choices=SIZES, default="15m")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--scale-run", metavar="SIZES")
    parser.add_argument("--minutes", type=float, help="time budget instead of --tokens")
    parser.add_argument("--max-steps", type=int, help="stop after so many steps, as a signal would")
    add_flags(parser, TrainConfig)
    add_flags(parser, BatchConfig)
    args = parser.parse_args()
    config, batch_config = from_flags(TrainConfig, args), from_flags(BatchConfig, args)
    if config.threads:
        torch.set_num_threads(config.threads)
    n_vocab = Documents(args.work, "train").n_vocab
    model_config = ModelConfig(n_vocab=-(-n_vocab // 32) * 32, **SIZES[args.size])
    if args.profile:
        profile(args.work, model_config, batch_config, config)
        return
    if args.scale_run:
        scale_run(args, args.scale_run.split(","), batch_config, config, model_config.n_vocab)
        return
    folder = Path(args.work) / "runs" / args.run
    run = Run(args.work, folder, model_config, batch_config, config, args.minutes)
    settings = {"model": dataclasses.asdict(model_config), "batches": dataclasses.asdict(batch_config),
                "train": dataclasses.asdict(config)}
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    run.train(args.max_steps)


if __name__ == "__main__":
    main()
