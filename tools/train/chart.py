"""A line chart of a training log as an SVG file, without other libraries."""
import csv
import math

WIDTH, HEIGHT, MARGIN = 720, 360, 48
SERIES = (("bpb_plain", "#1f6feb", "plain"), ("bpb_fim", "#d1480b", "fill-in-the-middle"))


def write_chart(log, out):
    """Held-out bits per byte over millions of tokens."""
    with open(log, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    xs = [int(r["tokens"]) / 1e6 for r in rows]
    values = {key: [float(r[key]) for r in rows] for key, _, _ in SERIES}
    every = [v for vs in values.values() for v in vs if math.isfinite(v)]
    if not every:
        return
    low, high, right = min(every), max(every), max(xs[-1], 1e-9)
    span = (high - low) or 1.0

    def point(x, y):
        return (f"{MARGIN + x / right * (WIDTH - 2 * MARGIN):.1f},"
                f"{HEIGHT - MARGIN - (y - low) / span * (HEIGHT - 2 * MARGIN):.1f}")

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             'font-size="12">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for i in range(5):
        y = low + span * i / 4
        at = point(0, y).split(",")[1]
        parts.append(f'<path d="M{MARGIN} {at}H{WIDTH - MARGIN}" stroke="#ddd"/><text x="6" y="{at}">{y:.3f}</text>')
    for i in range(5):
        x = right * i / 4
        at = point(x, low).split(",")[0]
        parts.append(f'<text x="{at}" y="{HEIGHT - 28}" text-anchor="middle">{x:.4g}</text>')
    parts.append(f'<text x="{WIDTH // 2}" y="{HEIGHT - 8}" text-anchor="middle">million tokens</text>')
    parts.append(f'<text x="{MARGIN}" y="18">held-out bits per byte</text>')
    for i, (key, colour, name) in enumerate(SERIES):
        line = " ".join(point(x, y) for x, y in zip(xs, values[key]))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - 180}" y="{18 + 16 * i}" fill="{colour}">{name}</text>')
    out.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
