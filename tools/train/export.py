#!/usr/bin/env python3
"""Write a checkpoint as GGUF files that any engine reads: llama architecture, byte-level BPE.

  export.py CHECKPOINT.pt --out DIR [--name inline-15m] [--types f16,q8_0,q6_k] [--quantize PATH]
  export.py CHECKPOINT.pt --out DIR --check INLINE

F16 and Q8_0 are written here; other types are made from F16 by the program that --quantize names (llama.cpp's
llama-quantize). --check compares the prompt's tokens and the greedy tokens of the F16 file in the engine with
this model's own, and fails at the first difference that is not a near-tie. For llama.cpp, give the file to
tools/reference/compare.py.

The key inline.fim.order says "spm": the model was trained with both orders, and suffix first is the one to use,
because then typing only ever appends to the prompt.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType as FileType

from batches import Tokenizer
from model import Model, ModelConfig

NEAR_TIE = 0.05  # in logits: more than F16 weights and keys change, far less than a usual lead
CHECK_PROMPT = "int main(void)\n{\n    return"
N_CHECK = 32


def load(path):
    """Model, tokenizer and the checkpoint's other fields."""
    state = torch.load(path, weights_only=True)
    model = Model(ModelConfig(**state["model_config"]))
    model.load_state_dict(state["model"])
    return model.eval(), Tokenizer(state["tokenizer"]), state


def interleave(rows, n_heads):
    """Rows of Q or K from halves, which rotate with each other, to neighbouring pairs."""
    n, d = rows.shape
    return rows.reshape(n_heads, 2, n // n_heads // 2, d).transpose(0, 2, 1, 3).reshape(n, d)


def tensors(model):
    """GGUF names and float32 arrays."""
    c, d = model.config, model.config.d_head
    q_rows, kv_rows = c.n_heads * d, c.n_kv_heads * d
    yield "token_embd.weight", model.embedding
    yield "output_norm.weight", model.norm
    for i, b in enumerate(model.blocks):
        q, k, v = np.split(b.wqkv.detach().numpy(), (q_rows, q_rows + kv_rows))
        gate, up = b.w_gate_up.chunk(2)
        yield from ((f"blk.{i}.{name}.weight", value) for name, value in (
            ("attn_norm", b.attn_norm), ("attn_q", interleave(q, c.n_heads)), ("attn_k", interleave(k, c.n_kv_heads)),
            ("attn_v", v), ("attn_output", b.wo), ("ffn_norm", b.ffn_norm), ("ffn_gate", gate), ("ffn_up", up),
            ("ffn_down", b.w_down)))


def add_metadata(w, c, args, file_type, state):
    w.add_name(args.name)
    w.add_description("Fill-in-the-middle completion of source code, trained from scratch for Inline.")
    w.add_organization("Inline")
    w.add_license(args.license)
    w.add_tags(["code", "fill-in-the-middle"])
    w.add_size_label(f"{c.n_params() / 1e6:.0f}M")
    w.add_file_type(file_type)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_context_length(c.n_ctx)
    w.add_embedding_length(c.d_model)
    w.add_block_count(c.n_layers)
    w.add_feed_forward_length(c.d_ff)
    w.add_head_count(c.n_heads)
    w.add_head_count_kv(c.n_kv_heads)
    w.add_rope_dimension_count(c.d_head)
    w.add_rope_freq_base(c.rope_theta)
    w.add_layer_norm_rms_eps(c.norm_eps)
    w.add_vocab_size(c.n_vocab)
    w.add_string("inline.fim.order", "spm")
    w.add_uint64("inline.training.tokens", int(state["tokens"]))


def add_tokenizer(w, tokenizer, n_vocab, pre):
    data = json.loads(tokenizer.path.read_text(encoding="utf-8"))
    special = {i for i, t in tokenizer.hf.get_added_tokens_decoder().items() if t.special}
    tokens = [f"<|unused_{i}|>" for i in range(n_vocab)]
    types = [gguf.TokenType.UNUSED] * n_vocab
    for text, i in tokenizer.hf.get_vocab().items():
        tokens[i] = text
        types[i] = gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_eos_token_id(tokenizer.end)
    w.add_bos_token_id(tokenizer.end)
    w.add_pad_token_id(tokenizer.pad)
    w.add_add_bos_token(False)
    w.add_add_eos_token(False)
    for key, i in (("pre", tokenizer.prefix), ("suf", tokenizer.suffix), ("mid", tokenizer.middle),
                   ("pad", tokenizer.pad), ("rep", tokenizer.repo), ("sep", tokenizer.file)):
        w.add_uint32(f"tokenizer.ggml.fim_{key}_token_id", i)
    w.add_eot_token_id(tokenizer.end)


def write(path, model, tokenizer, state, args, kind):
    file_type = {Type.F16: FileType.MOSTLY_F16, Type.Q8_0: FileType.MOSTLY_Q8_0}[kind]
    w = gguf.GGUFWriter(path, "llama")
    add_metadata(w, model.config, args, file_type, state)
    add_tokenizer(w, tokenizer, model.config.n_vocab, args.pre)
    for name, value in tensors(model):
        value = np.ascontiguousarray(value.detach().numpy() if isinstance(value, torch.Tensor) else value, np.float32)
        if value.ndim == 1:
            w.add_tensor(name, value)
        else:
            w.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ---- Check ----

@torch.no_grad()
def own_greedy(model, ids, n):
    """Greedy tokens, and by how much each leads."""
    ids, leads = list(ids), []
    for _ in range(n):
        best = model.logits(torch.tensor(ids), [len(ids)])[-1].topk(2)
        ids.append(int(best.indices[0]))
        leads.append(float(best.values[0] - best.values[1]))
    return ids[-n:], leads


def engine_greedy(inline, path, ids, n):
    out = subprocess.run([inline, "logits", path, "--json", "--greedy", str(n), "--tokens", ",".join(map(str, ids))],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)["greedy"]


def check(path, model, tokenizer, args):
    ids = tokenizer.encode(CHECK_PROMPT)
    own, leads = own_greedy(model, ids, N_CHECK)
    got = [t["id"] if isinstance(t, dict) else t for t in engine_greedy(args.check, path, ids, N_CHECK)]
    for i, (a, b) in enumerate(zip(own, got)):
        if a != b:
            if leads[i] < NEAR_TIE:
                print(f"engine: equal up to a near-tie at token {i} (lead {leads[i]:.3f})")
                break
            sys.exit(f"export.py: token {i} is {b} in the engine and {a} here, with a lead of {leads[i]:.3f}")
    else:
        print(f"engine: {len(got)} greedy tokens equal, smallest lead {min(leads[:len(got)] or [0]):.3f}")
    out = subprocess.run([args.check, "tokenize", "--model", path, "--text", CHECK_PROMPT, "--ids"], check=True,
                         capture_output=True, text=True).stdout
    if [int(i) for i in out.replace(",", " ").split()] != ids:
        sys.exit(f"export.py: the engine's tokens are {out.strip()}, the tokenizer's {ids}")
    print("engine: tokens of the prompt equal")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", required=True)
    parser.add_argument("--name", default="inline-15m")
    parser.add_argument("--license", default="Apache-2.0", help="of the weights, as an SPDX name")
    parser.add_argument("--pre", help="pre-tokenizer, by the name that engines know; usual: what meta.json says")
    parser.add_argument("--types", default="f16,q8_0")
    parser.add_argument("--quantize", help="path of llama-quantize, for other types")
    parser.add_argument("--check", metavar="INLINE", help="path of the inline program")
    args = parser.parse_args()
    model, tokenizer, state = load(args.checkpoint)
    meta = tokenizer.path.with_name("meta.json")
    args.pre = args.pre or (json.loads(meta.read_text(encoding="utf-8"))["pre"] if meta.exists() else "qwen2")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    f16 = out / f"{args.name}-f16.gguf"
    write(f16, model, tokenizer, state, args, Type.F16)
    for name in args.types.split(","):
        path = out / f"{args.name}-{name}.gguf"
        if name == "q8_0":
            write(path, model, tokenizer, state, args, Type.Q8_0)
        elif name != "f16":
            if not args.quantize:
                sys.exit(f"export.py: {name} needs --quantize, the path of llama-quantize")
            subprocess.run([args.quantize, f16, path, name.upper(), "2"], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        print(f"{path} {path.stat().st_size / 1e6:.1f} MB")
    if args.check:
        check(f16, model, tokenizer, args)


if __name__ == "__main__":
    main()
