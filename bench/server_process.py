"""A server's process seen from outside (Linux): who listens on a port, its memory and processor time over a run."""

import asyncio
import os
import pathlib
import time

SAMPLE_SECONDS = 0.5


def listener_pid(port):
    """The process of ours that listens on this TCP port, or None."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:] if os.path.exists(table) else ():
            fields = line.split()
            is_listening = fields[3] == "0A"
            if is_listening and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for directory in pathlib.Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(os.readlink(fd) in inodes for fd in directory.iterdir()):
                return int(directory.parent.name)
        except OSError:  # it has ended, or belongs to somebody else
            pass
    return None


def rss_bytes(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slope(points):
    """Of the least-squares line through (x, y) points; 0 of fewer than two."""
    n = len(points)
    if n < 2:
        return 0.0
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


class ProcessSampler:
    """Resident memory twice a second while run() runs. Without a pid, or when the process ends, there is nothing."""

    def __init__(self, pid):
        self.pid = pid
        self.samples = []  # (seconds since the start, bytes)
        self.cpu = 0.0

    async def run(self):
        start = time.perf_counter()
        try:
            cpu_before = cpu_seconds(self.pid)
            while True:
                self.samples.append((time.perf_counter() - start, rss_bytes(self.pid)))
                self.cpu = cpu_seconds(self.pid) - cpu_before
                await asyncio.sleep(SAMPLE_SECONDS)
        except (OSError, ValueError):
            pass

    def report(self):
        """The slope is that of the second half, when buffers and KV have been touched."""
        if not self.samples:
            return {"rss_samples": []}
        end = self.samples[-1][0]
        late = [s for s in self.samples if s[0] >= end / 2]
        return {
            "rss_first_bytes": self.samples[0][1],
            "rss_last_bytes": self.samples[-1][1],
            "rss_max_bytes": max(b for _, b in self.samples),
            "rss_slope_bytes_per_s": round(slope(late)),
            "server_cpu_s": round(self.cpu, 2),
            "rss_samples": [[round(t, 1), b] for t, b in self.samples],
        }
