"""Optimizers: Muon for the matrices of the blocks, AdamW for the embedding and the norms; or AdamW for all.

Muon (Keller Jordan et al., 2024) takes the momentum of a matrix to the nearest semi-orthogonal one by five steps
of a quintic Newton-Schulz iteration, and scales it to the size of an AdamW step (Liu et al., arXiv 2502.16982) so
that one learning rate serves both. Matrices that are fused for speed are updated by their parts.
"""
import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients that reach singular values of 0.7 to 1.2 in five steps
ADAMW_RMS = 0.2                            # usual root mean square of an AdamW step, in learning rates


def orthogonalize(m, dtype):
    """Of every matrix in a stack [k, rows, columns]."""
    a, b, c = NEWTON_SCHULZ
    is_tall = m.shape[-2] > m.shape[-1]
    x = (m.mT if is_tall else m).to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).float()


class Muon(torch.optim.Optimizer):
    """params: pairs of a matrix and the row counts of the parts that it fuses."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1, dtype=torch.float32):
        params = list(params)
        super().__init__([p for p, _ in params], dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.parts, self.dtype = [rows for _, rows in params], dtype

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        by_shape = {}
        for p, rows in zip(group["params"], self.parts):
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            update = p.grad.lerp(state["momentum"], group["momentum"])  # Nesterov
            for part, target in zip(update.split(rows), p.split(rows)):
                by_shape.setdefault(part.shape, []).append((part, target))
        for shape, pairs in by_shape.items():
            steps = orthogonalize(torch.stack([part for part, _ in pairs]), self.dtype)
            scale = ADAMW_RMS * max(shape) ** 0.5 * group["lr"]
            for (_, target), step in zip(pairs, steps):
                target.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=scale)


class Optimizers:
    """Those of a model, behind one face. set_lr takes a factor of the configured rates."""

    def __init__(self, model, name, lr, embedding_lr, weight_decay):
        c = model.config
        groups = c.n_heads * c.d_head, c.n_kv_heads * c.d_head, c.n_kv_heads * c.d_head
        matrices = {}
        for b in model.blocks:
            matrices |= {b.wqkv: groups, b.wo: (c.d_model,), b.w_gate_up: (c.d_ff, c.d_ff), b.w_down: (c.d_model,)}
        norms = [p for p in model.parameters() if p.dim() == 1]
        adam = [dict(params=[model.embedding], lr=embedding_lr, weight_decay=0.0),
                dict(params=norms, lr=lr, weight_decay=0.0)]
        self.all = []
        if name == "muon":
            self.all.append(Muon(matrices.items(), lr, weight_decay=weight_decay, dtype=model.dtype))
        else:
            adam.append(dict(params=list(matrices), lr=lr, weight_decay=weight_decay))
        self.all.append(torch.optim.AdamW(adam, lr=lr, betas=(0.9, 0.95), eps=1e-10, fused=True))
        self.rates = [[g["lr"] for g in o.param_groups] for o in self.all]

    def set_lr(self, factor):
        for o, rates in zip(self.all, self.rates):
            for group, rate in zip(o.param_groups, rates):
                group["lr"] = rate * factor

    def step(self):
        for o in self.all:
            o.step()
            o.zero_grad(set_to_none=False)

    def state_dict(self):
        return [o.state_dict() for o in self.all]

    def load_state_dict(self, states):
        for o, state in zip(self.all, states):
            o.load_state_dict(state)
