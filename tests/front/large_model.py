"""A model of any size in a moment: a small fixture, grown by zeros that are holes in a file.

Its matrices have a packed form (Q8_0)."""

import os
import re
import struct

from front import FIXTURES

QUANTIZED = FIXTURES / "models" / "format-q8_0.gguf"
Q8_0, Q8_0_BLOCK = 8, 34  # the format's number; bytes of 32 weights


def set_key(keys, name, value):
    """Of a uint32 among the keys, as they stand in the file."""
    at = keys.index(name) + len(name) + 4
    keys[at:at + 4] = struct.pack("<I", value)


def read_tensors(data, at):
    """(name, dims, kind) of each, from the table at this offset."""
    for _ in range(struct.unpack_from("<Q", data, 8)[0]):
        (length,) = struct.unpack_from("<Q", data, at)
        name = data[at + 8:at + 8 + length]
        at += 8 + length
        (n_dims,) = struct.unpack_from("<I", data, at)
        *dims, kind, _ = struct.unpack_from(f"<{n_dims}QIQ", data, at + 4)
        at += 4 + 8 * n_dims + 12
        yield name, dims, kind


def write(path, d_ff, n_layers=None):
    """QUANTIZED with an inner width of d_ff, a multiple of 32, and so many layers (None: its own): 102 bytes for each
    unit of the width in each layer."""
    data = QUANTIZED.read_bytes()
    end = data.index(b"token_embd.weight") - 8  # of the keys: names have their length before them
    keys = bytearray(data[24:end])
    set_key(keys, b"llama.feed_forward_length", d_ff)
    tensors = list(read_tensors(data, end))
    if n_layers:
        set_key(keys, b"llama.block_count", n_layers)
        layer = [t for t in tensors if t[0].startswith(b"blk.0.")]
        tensors = [t for t in tensors if not t[0].startswith(b"blk.")]
        tensors += [(re.sub(rb"\d+", b"%d" % i, name, count=1), list(dims), kind)
                    for i in range(n_layers) for name, dims, kind in layer]
    header, offset = bytearray(data[:8] + struct.pack("<Q", len(tensors)) + data[16:24] + keys), 0
    for name, dims, kind in tensors:
        if b"ffn_gate" in name or b"ffn_up" in name:
            dims[1] = d_ff
        if b"ffn_down" in name:
            dims[0] = d_ff
        header += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
        header += struct.pack(f"<{len(dims)}QIQ", *dims, kind, offset)
        n = dims[0] * (dims[1] if len(dims) > 1 else 1)
        offset += ((n // 32 * Q8_0_BLOCK if kind == Q8_0 else 4 * n) + 31) // 32 * 32
    header += bytes(-len(header) % 32)
    path.write_bytes(header)
    os.truncate(path, len(header) + offset)
    return path
