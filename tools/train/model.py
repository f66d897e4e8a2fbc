"""The bundled model: a decoder of the llama architecture, written for training on a CPU.

A batch is one flat row of tokens, cut into segments (documents) that do not see each other: no padding, and
attention costs what the segments cost. Parameters are float32; matrices are cast to the compute type where they
are used, so that their gradients accumulate in float32. The residual stream stays in float32.

Two things are fused because they dominate a small model's step. Q, K and V are one matrix, gate and up another.
And the output head with its loss never holds more than a chunk of logits, and computes its gradient on the way
(head_loss). RoPE rotates halves here, which vectorises better; export.py reorders the rows of Q and K into the
neighbouring pairs that GGUF's llama architecture means.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

HEAD_CHUNK = 2048  # tokens whose logits exist at a time: 64 MB in bf16 with a vocabulary of 16k
QUERY_BLOCK = 512  # of attend_matmul: small enough to skip most of the future, large enough for the products
LOGIT_MAX = 80.0   # exp(80) still fits float32 and bfloat16, summed over any vocabulary


@dataclass(frozen=True)
class ModelConfig:
    n_vocab: int = 16384
    n_ctx: int = 2048
    d_model: int = 384
    n_layers: int = 8
    n_heads: int = 6
    n_kv_heads: int = 2
    d_ff: int = 1024
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def d_head(self):
        return self.d_model // self.n_heads

    @property
    def d_qkv(self):
        return (self.n_heads + 2 * self.n_kv_heads) * self.d_head

    def matrix_params(self):
        """Weights that every token is multiplied with, by part. The embedding counts as the head."""
        block = self.d_model * (self.d_qkv + self.d_model + 3 * self.d_ff)
        return {"blocks": self.n_layers * block, "head": self.n_vocab * self.d_model}

    def n_params(self):
        return sum(self.matrix_params().values()) + (2 * self.n_layers + 1) * self.d_model


SIZES = {  # for --size; parameters with a vocabulary of 16384
    "toy": dict(d_model=128, n_layers=3, n_heads=4, n_kv_heads=2, d_ff=384),
    "10m": dict(d_model=256, n_layers=8, n_heads=4, n_kv_heads=2, d_ff=768),
    "13m": dict(d_model=320, n_layers=8, n_heads=5, n_kv_heads=1, d_ff=832),
    "15m": dict(d_model=384, n_layers=6, n_heads=6, n_kv_heads=2, d_ff=1024),
    "19m": dict(d_model=384, n_layers=8, n_heads=6, n_kv_heads=2, d_ff=1024),
    "20m": dict(d_model=512, n_layers=5, n_heads=8, n_kv_heads=2, d_ff=1280),
}


class HeadLoss(torch.autograd.Function):
    """Sum of cross-entropies of a tied output head, with the gradients computed in the forward pass.

    The softmax takes one pass over the logits: E = exp(logits) is used as it is in both gradient products, and
    its row sums are divided out of the narrow operands instead. Without subtracting the row maximum this needs
    bounded logits; they are clamped, far above what a trained model reaches. The target's -1 goes into E too.
    z_weight adds z_weight * log(sum)^2, which keeps the sums near one.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, z_weight):
        dtype, n = hidden.dtype, hidden.shape[0]
        w = weight.to(dtype)
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight)
        losses = torch.empty(n, dtype=torch.float32)
        wants_grad = any(ctx.needs_input_grad)
        for at in range(0, n, HEAD_CHUNK):
            rows = slice(at, at + HEAD_CHUNK)
            h, target = hidden[rows], targets[rows]
            is_real = target >= 0  # -1 marks positions without a loss
            column = target.clamp(min=0)[:, None]
            logits = h @ w.t()
            picked = logits.gather(1, column).float().squeeze(1)
            e = logits.clamp_(max=LOGIT_MAX).exp_()
            total = e.sum(1, dtype=torch.float32)
            log_total = total.log()
            losses[rows] = torch.where(is_real, log_total - picked, 0.0)
            if not wants_grad:
                continue
            pull = 1.0 + 2.0 * z_weight * log_total
            # d loss / d logits = pull * e / total - onehot = (e - onehot * total / pull) * (pull / total)
            e.scatter_add_(1, column, -(total / pull).to(dtype)[:, None])
            scale = torch.where(is_real, pull / total, 0.0)[:, None]
            d_hidden[rows] = (e @ w) * scale
            d_weight += e.t() @ (h * scale).to(dtype)
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx, d_loss, _):
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * d_loss, d_weight * d_loss, None, None


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rotate(x, cos, sin):
    """x [n, heads, d_head]; cos, sin [n, 1, d_head / 2]."""
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


def project_qkv(x, norm, wqkv, cos, sin, c, dtype):
    """Queries [n_kv_heads, n_heads / n_kv_heads, n, d_head], and keys and values [n_kv_heads, 1, n, d_head]."""
    n, groups = x.shape[0], c.n_kv_heads
    qkv = F.linear(rms_norm(x, norm, c.norm_eps).to(dtype), wqkv.to(dtype)).view(n, -1, c.d_head)
    q, k, v = qkv.split((c.n_heads, groups, groups), 1)
    q = rotate(q, cos, sin).view(n, groups, -1, c.d_head).permute(1, 2, 0, 3)
    k = rotate(k, cos, sin).transpose(0, 1)[:, None]
    return q, k, v.transpose(0, 1)[:, None]


def attend_flash(q, k, v):
    """One segment. Key heads are shared, not copied."""
    share = q.shape[1]
    return F.scaled_dot_product_attention(q, k.expand(-1, share, -1, -1), v.expand(-1, share, -1, -1), is_causal=True)


def attend_matmul(q, k, v):
    """One segment, as matrix products over blocks of queries and all keys up to the block's end. Queries that
    share a key head are rows of one product. For CPUs whose large products are much faster than the small ones
    inside PyTorch's flash attention."""
    groups, share, n, d_head = q.shape
    outs = []
    for at in range(0, n, QUERY_BLOCK):
        end = min(at + QUERY_BLOCK, n)
        rows = q[:, :, at:end].reshape(groups, share * (end - at), d_head)
        scores = rows @ (k[:, 0, :end] * d_head ** -0.5).mT
        future = torch.ones(end - at, end, dtype=torch.bool).triu_(at + 1)
        scores = scores.view(groups, share, end - at, end).masked_fill(future, float("-inf"))
        weights = scores.softmax(-1).view(groups, -1, end)
        outs.append((weights @ v[:, 0, :end]).view(groups, share, end - at, d_head))
    return torch.cat(outs, 2)


ATTENTION = {"flash": attend_flash, "matmul": attend_matmul}


def attend(q, k, v, lengths, kind):
    """Causal attention inside each segment; [n, n_heads * d_head]."""
    parts = zip(q.split(lengths, 2), k.split(lengths, 2), v.split(lengths, 2))
    return torch.cat([ATTENTION[kind](*part) for part in parts], 2).permute(2, 0, 1, 3).reshape(q.shape[2], -1)


def finish_block(x, attended, wo, norm, w_gate_up, w_down, c, dtype):
    x = x + F.linear(attended, wo.to(dtype))
    gate, up = F.linear(rms_norm(x, norm, c.norm_eps).to(dtype), w_gate_up.to(dtype)).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, w_down.to(dtype))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c.d_model
        self.attn_norm = nn.Parameter(torch.ones(d))
        self.wqkv = nn.Parameter(torch.empty(c.d_qkv, d))
        self.wo = nn.Parameter(torch.empty(d, d))
        self.ffn_norm = nn.Parameter(torch.ones(d))
        self.w_gate_up = nn.Parameter(torch.empty(2 * c.d_ff, d))
        self.w_down = nn.Parameter(torch.empty(d, c.d_ff))


class Model(nn.Module):
    """dtype: what matrices are multiplied in. is_compiled: let torch.compile fuse what lies between them."""

    def __init__(self, config, dtype=torch.float32, is_compiled=False, attention="flash"):
        super().__init__()
        self.config, self.dtype, self.attention = config, dtype, attention
        self.embedding = nn.Parameter(torch.empty(config.n_vocab, config.d_model))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.Parameter(torch.ones(config.d_model))
        half = torch.arange(0, config.d_head, 2) / config.d_head
        angles = torch.arange(config.n_ctx)[:, None] / config.rope_theta ** half
        self.register_buffer("cos", angles.cos()[:, None], persistent=False)
        self.register_buffer("sin", angles.sin()[:, None], persistent=False)
        wrap = (lambda f: torch.compile(f, dynamic=False)) if is_compiled else (lambda f: f)
        self.project_qkv, self.finish_block = wrap(project_qkv), wrap(finish_block)

    def init_weights(self, seed):
        """Normal, 0.02 at width 384 and less for wider; what writes to the residual stream is scaled down by
        its depth (GPT-2)."""
        g = torch.Generator().manual_seed(seed)
        std = 0.02 * (384 / self.config.d_model) ** 0.5
        for name, p in self.named_parameters():
            if p.dim() == 2:
                is_output = name.endswith((".wo", ".w_down"))
                gain = (2 * self.config.n_layers) ** -0.5 if is_output else 1.0
                nn.init.normal_(p, std=std * gain, generator=g)

    def hidden(self, tokens, lengths):
        """States [n, d_model] after the last norm. lengths: tokens of each segment, a list that sums to n."""
        c, dtype = self.config, self.dtype
        positions = torch.cat([torch.arange(n) for n in lengths])
        cos, sin = self.cos[positions], self.sin[positions]
        x = F.embedding(tokens, self.embedding)
        for b in self.blocks:
            q, k, v = self.project_qkv(x, b.attn_norm, b.wqkv, cos, sin, c, dtype)
            attended = attend(q, k, v, lengths, self.attention)
            x = self.finish_block(x, attended, b.wo, b.ffn_norm, b.w_gate_up, b.w_down, c, dtype)
        return rms_norm(x, self.norm, c.norm_eps).to(dtype)

    def loss(self, tokens, targets, lengths, z_weight=0.0):
        """Sum of the losses in nats, and the loss at each position (0 where target is -1)."""
        return HeadLoss.apply(self.hidden(tokens, lengths), self.embedding, targets, z_weight)

    def logits(self, tokens, lengths):
        return F.linear(self.hidden(tokens, lengths), self.embedding.to(self.dtype)).float()

    def step_flops(self, lengths):
        """Multiplications and additions of matrix products in a forward and backward pass, by part."""
        n, params = sum(lengths), self.config.matrix_params()
        # Two products of half a square each, forward; twice that backward and one repeated (flash attention).
        attention = sum(7 * length * length * self.config.d_model for length in lengths) * self.config.n_layers
        return {"blocks": 6 * n * params["blocks"], "head": 6 * n * params["head"], "attention": attention}


def best_dtype():
    """bfloat16 where the CPU multiplies it in hardware; elsewhere it would be slower than float32."""
    flags = set()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            for line in f:
                if line.startswith("flags"):
                    flags = set(line.split())
                    break
    except OSError:
        pass
    return torch.bfloat16 if flags & {"amx_bf16", "avx512_bf16"} else torch.float32
