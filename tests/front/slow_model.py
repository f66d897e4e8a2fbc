"""A model that answers as a small fixture does, only slowly: its feed-forward is padded with zeros.

What a test stops in the middle must last long enough to have one. Padding the inner width changes no result, since
zero rows of the first matrix meet zero columns of the second. Reads and writes just enough GGUF (version 3) for
that: keys pass through unread but the two that are changed, tensors are F16 or F32."""

import math
import struct

D_FF = 1 << 16    # inner width: some milliseconds a token
N_CTX = 4096      # and room for many of them

STRING, ARRAY = 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
ELEMENT_BYTES = {0: 4, 1: 2}  # F32, F16


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def string(self):
        return self.take(self.number("Q"))

    def skip_value(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            item, n = self.number("I"), self.number("Q")
            for _ in range(n):
                self.skip_value(item)
        else:
            self.take(SCALAR_BYTES[kind])


def string(text):
    return struct.pack("<Q", len(text)) + text


def padded(name, dims, data, width):
    """A tensor's shape and bytes with the inner width grown to D_FF; dims[0] is the row's length."""
    if "ffn_" not in name or "norm" in name:
        return dims, data
    if "down" in name and len(dims) == 2:  # longer rows
        row = len(data) // dims[1]
        zeros = bytes(row // width * (D_FF - width))
        return [D_FF, dims[1]], b"".join(data[i : i + row] + zeros for i in range(0, len(data), row))
    if "down" in name:  # its bias is as wide as the model
        return dims, data
    return [*dims[:-1], D_FF], data + bytes(len(data) // width * (D_FF - width))  # more rows, or a longer bias


def write(source, path):
    """The slow twin of the model at `source`."""
    r = Reader(source.read_bytes())
    magic, version, n_tensors, n_keys = r.take(4), r.number("I"), r.number("Q"), r.number("Q")
    keys, width, alignment = [], 0, 32
    for _ in range(n_keys):
        name, kind = r.string(), r.number("I")
        begin = r.at
        r.skip_value(kind)
        value = r.data[begin : r.at]
        if name.endswith(b".feed_forward_length"):
            width, value = struct.unpack("<I", value)[0], struct.pack("<I", D_FF)
        if name.endswith(b".context_length"):
            value = struct.pack("<I", N_CTX)
        if name == b"general.alignment":
            alignment = struct.unpack("<I", value)[0]
        keys.append(string(name) + struct.pack("<I", kind) + value)
    tensors = []
    for _ in range(n_tensors):
        name, n_dims = r.string(), r.number("I")
        dims = [r.number("Q") for _ in range(n_dims)]
        tensors.append((name, dims, r.number("I"), r.number("Q")))
    base = -(-r.at // alignment) * alignment

    table, content = b"", b""
    for name, dims, kind, offset in tensors:
        n_bytes = math.prod(dims) * ELEMENT_BYTES[kind]
        data = r.data[base + offset : base + offset + n_bytes]
        dims, data = padded(name.decode(), dims, data, width)
        table += string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        table += struct.pack("<IQ", kind, len(content))
        content += data + bytes(-len(data) % alignment)
    head = magic + struct.pack("<IQQ", version, n_tensors, n_keys) + b"".join(keys) + table
    path.write_bytes(head + bytes(-len(head) % alignment) + content)
    return path
