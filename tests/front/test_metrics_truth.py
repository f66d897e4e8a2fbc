"""GET /metrics of a real daemon against what others say: the kernel (/proc), the cache's own statistics, the requests
that were sent, by whom and what came of them; and that looking at all of it for long costs no memory.

What no clock or kernel knows is in unit/test_watch_truth.c: there the test sets the times itself."""

import json
import os
import re
import threading
import time
import unittest

from daemon import SANITIZED
from editor import INLINE, URI, EditorTest
from front import FIXTURES

MODEL = FIXTURES / "models" / "qwen2.gguf"  # of random weights; it has FIM tokens
INFILL = {"input_prefix": "int a = ", "input_suffix": ";\n", "n_predict": 8, "temperature": 0}
SEGMENTS = {"language": "c", "segments": {"prefix": "int a = ", "suffix": ";\n"}}
DOORS = {  # which are counted as what, with requests of each
    "infill": [("/infill", INFILL)] * 3,
    "completion": [("/completion", {"prompt": "int a = ", "n_predict": 8})] * 2,
    "openai": [("/v1/completions", {"prompt": "int a = ", "max_tokens": 8}),
               ("/v1/completions", {"prompt": "int a = ", "suffix": ";\n", "max_tokens": 8}),
               ("/v1/completions", SEGMENTS)],
    "ollama": [("/api/generate", {"prompt": "int a = ", "suffix": ";\n", "stream": False})],
}
N_LONG = 20000 // (20 if SANITIZED else 1)  # requests of the long run
N_CLIENTS = 4
LINE = re.compile(r'(?m)^([a-z_]+)(?:\{([a-z_]+)="([^"]*)"\})? (\S+)$')


class Metrics(dict):
    """Of one scrape: {(name, label): value}; label "" without one. Series of two labels are left out."""

    def __init__(self, daemon):
        status, _, text = daemon.get("/metrics")
        assert status == 200, text
        super().__init__({(name, label): float(value) for name, _, label, value in LINE.findall(text)})

    def of(self, name):
        """{label: value} of those that are not 0."""
        return {label: value for (n, label), value in self.items() if n == name and value != 0}

    def one(self, name):
        return self[name, ""]


class MetricsTruthTest(EditorTest):
    def serve(self, **env):
        env = {"INLINE_CACHE_PREFETCH": "off", "INLINE_LOG_LEVEL": "info", **env}
        return self.start_daemon(model=MODEL, env=env).wait_ready()

    def ask(self, daemon, i, path="/infill", **more):
        status, _, body = daemon.post(path, {**INFILL, "input_prefix": f"int a{i} = ", **more})
        self.assertEqual(status, 200, body)
        return body

    def ask_all_doors(self, daemon):
        for requests in DOORS.values():
            for path, body in requests:
                status, _, answer = daemon.post(path, body)
                self.assertEqual(status, 200, (path, answer))


class Process(MetricsTruthTest):
    def test_process(self):
        began = time.time()
        daemon = self.serve()
        for i in range(30):
            self.ask(daemon, i)
        Metrics(daemon)  # buffers grow with the first one
        before = daemon.cpu_seconds()
        metrics = Metrics(daemon)
        rss, after = daemon.rss_bytes(), daemon.cpu_seconds()
        n_files = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        self.assertAlmostEqual(metrics.one("process_resident_memory_bytes"), rss, delta=0.01 * rss + 65536)
        self.assertGreaterEqual(metrics.one("process_cpu_seconds_total"), before - 0.02)  # two ticks of the kernel's
        self.assertLessEqual(metrics.one("process_cpu_seconds_total"), after + 0.02)
        self.assertIn(metrics.one("process_open_fds") - n_files, (0, 1, 2))  # its connection, and the open directory
        self.assertAlmostEqual(metrics.one("process_start_time_seconds"), began, delta=2)
        self.assertEqual(metrics.of("inline_build_info"), {self.succeeds("--version").out.split()[-1]: 1})

    @unittest.skipIf(SANITIZED, "their memory is nobody's")
    def test_parts_of_memory_add_up(self):
        daemon = self.serve()
        for i in range(200):
            self.ask(daemon, i)
        metrics = Metrics(daemon)
        parts = metrics.of("inline_memory_bytes")
        rss = metrics.one("process_resident_memory_bytes")
        self.assertAlmostEqual(sum(parts.values()), rss, delta=0.02 * rss)
        self.assertGreater(parts["heap"], 0)
        self.assertGreater(parts["completions"], 0)
        self.assertGreaterEqual(metrics.one("inline_weights_mapped_bytes"),
                                parts.get("weights", 0) + parts.get("packs", 0))
        self.assertGreater(parts.get("weights", 0) + parts.get("packs", 0), 0)

    def test_load(self):
        daemon = self.serve()
        metrics = Metrics(daemon)
        load_ms = float(daemon.wait_log(r"loaded in (\d+) ms")[1])
        self.assertEqual(metrics.one("inline_model_load_seconds_count"), 1)
        self.assertEqual(metrics.one("inline_model_loads_total"), 1)
        self.assertEqual(metrics.one("inline_models_loaded"), 1)
        self.assertAlmostEqual(metrics.one("inline_model_load_seconds_sum") * 1e3, load_ms, delta=0.5 + 0.01 * load_ms)


class Requests(MetricsTruthTest):
    def test_doors(self):
        daemon = self.serve()
        self.ask_all_doors(daemon)
        self.assertEqual(daemon.post("/infill", {**INFILL, "n_predict": "x"})[0], 400)  # came to no request
        editor = self.connect(daemon)
        editor.start(INLINE)
        editor.open()
        editor.complete(2, 11)
        metrics = Metrics(daemon)
        by_door = {door: len(requests) for door, requests in DOORS.items()}
        self.assertEqual(metrics.of("inline_api_requests_total"), {**by_door, "lsp": 1})
        self.assertEqual(metrics.of("inline_requests_total"), {"ok": sum(by_door.values()) + 1})
        n_timed = sum(metrics.of("inline_request_seconds_count").values())
        self.assertEqual(n_timed, sum(by_door.values()) + 1)
        self.assertEqual(sum(metrics.of("inline_cache_hits_total").values()) +
                         sum(metrics.of("inline_cache_misses_total").values()), n_timed)

    def test_times_are_those_that_clients_are_told(self):
        daemon = self.serve()
        answers = [self.ask(daemon, i) for i in range(50)]
        metrics = Metrics(daemon)
        for stage, name in (("queue", "queue"), ("prefill", "prompt"), ("decode", "predict"), ("post", "post"),
                            ("context", "context")):
            told = sum(a["inline"]["timings"][name] for a in answers) / 1e3
            is_sum = metrics["inline_stage_seconds_sum", stage]
            self.assertAlmostEqual(is_sum, told, delta=50e-6 + 0.01 * told, msg=stage)
            self.assertEqual(metrics["inline_stage_seconds_count", stage], 50)
        told = sum(a["inline"]["timings"]["total"] for a in answers) / 1e3
        self.assertAlmostEqual(metrics["inline_request_seconds_sum", "computed"], told, delta=50e-6 + 0.01 * told)
        for source in ("computed", "reused"):
            self.assertEqual(metrics["inline_prompt_tokens_total", source], sum(a["inline"][source] for a in answers))
        self.assertEqual(metrics.one("inline_predicted_tokens_total"), sum(a["tokens_predicted"] for a in answers))

    def cache_levels(self):
        levels = json.loads(self.succeeds("cache", "stats", "--json").out)["levels"]
        return {name: {key: level[key] for key in ("entries", "bytes", "max_bytes")} for name, level in levels.items()}

    def test_caches(self):
        daemon = self.serve()
        for _ in range(2):
            for i in range(20):
                self.ask(daemon, i, filename=f"{i}.c", document=f"{i}.c")  # of one alone, the others would be edits
        deadline = time.monotonic() + 30
        before, stats, metrics = None, self.cache_levels(), None
        while stats != before or stats["disk"]["entries"] < 20:  # writing is behind
            self.assertLess(time.monotonic(), deadline, stats)
            time.sleep(0.05)
            before, metrics, stats = stats, Metrics(daemon), self.cache_levels()
        self.assertEqual(metrics.of("inline_cache_hits_total"), {"memory": 20})
        self.assertEqual(metrics.of("inline_cache_misses_total"), {"new": 20})
        for level in ("memory", "disk"):
            self.assertEqual(metrics["inline_cache_entries", level], stats[level]["entries"])
            self.assertEqual(metrics["inline_cache_bytes", level], stats[level]["bytes"])
            self.assertEqual(metrics["inline_cache_max_bytes", level], stats[level]["max_bytes"])

    def test_what_editors_tell(self):
        daemon = self.serve(INLINE_COMPLETE_MAX_TOKENS="8")
        editor = self.connect(daemon)
        editor.start(INLINE)
        editor.open("int x = ;\n")
        item = editor.complete(0, 8, kind=1)["items"][0]
        place = {"line": 0, "character": 8}
        editor.notify("textDocument/didShowCompletion", {"item": item})
        editor.change(2, {"range": {"start": place, "end": place}, "text": item["insertText"]})
        editor.request("workspace/executeCommand", item["command"])
        editor.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        editor.request("shutdown", None)
        metrics = Metrics(daemon)
        self.assertEqual(metrics.of("inline_suggestions_total"), {"shown": 1, "accepted": 1})
        self.assertEqual(metrics.of("inline_suggestion_characters_total"),
                         {"shown": len(item["insertText"]), "accepted": len(item["insertText"])})
        self.assertEqual(metrics.of("inline_accepted_suggestions_checked_total"), {"kept": 1})
        record = daemon.get(f"/journal?id={item['command']['arguments'][2]}")[2]
        self.assertEqual((record["fate"], record["api"]), ("accepted", "lsp"))

    def test_tabby_tells_of_its_answer(self):
        daemon = self.serve()
        answer = daemon.post("/v1/completions", SEGMENTS)[2]
        event = {"type": "select", "completion_id": answer["id"], "choice_index": 0}
        status, _, body = daemon.post("/v1/events", event)
        self.assertEqual(status, 200, body)
        record = daemon.get(f"/journal?id={answer['inline']['id']}")[2]
        self.assertEqual(record["fate"], "accepted")


class LongRun(MetricsTruthTest):
    """Requests without end while a page is open and Prometheus scrapes each second."""

    def watch(self, daemon, stop):
        connection = daemon.connection()
        connection.request("GET", "/live")
        stream = connection.getresponse()
        self.assertEqual(stream.status, 200)
        while not stop.is_set() and stream.readline():
            self.n_lines += 1
        connection.close()

    def ask_many(self, daemon, n, first):
        connection = daemon.connection()
        for i in range(first, first + n):
            # Each fourth was asked before; a text of its own else.
            body = {**INFILL, "input_prefix": f"int a{i - i % 4 if i % 4 == 3 else i} = ", "n_predict": 2}
            connection.request("POST", "/infill", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                self.faults.append(answer.status)
        connection.close()

    def run_part(self, daemon, n, first):
        share = n // N_CLIENTS
        threads = [threading.Thread(target=self.ask_many, args=(daemon, share, first + i * share))
                   for i in range(N_CLIENTS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            Metrics(daemon)
            threads[0].join(1)

    def test_memory_stays(self):
        self.n_lines, self.faults = 0, []
        daemon = self.serve(INLINE_CACHE_MEMORY_MB="1", INLINE_CACHE_DISK_MB="0", INLINE_CACHE_PROJECTS_MB="0")
        stop = threading.Event()
        page = threading.Thread(target=self.watch, args=(daemon, stop))
        page.start()
        self.addCleanup(page.join)
        self.addCleanup(stop.set)
        self.run_part(daemon, N_LONG // 2, 0)  # the journal is full by then
        half = daemon.rss_bytes()
        self.run_part(daemon, N_LONG // 2, N_LONG)
        whole = daemon.rss_bytes()
        metrics = Metrics(daemon)
        self.assertEqual(self.faults, [])
        self.assertEqual(sum(metrics.of("inline_requests_total").values()), N_LONG // N_CLIENTS * N_CLIENTS)
        self.assertGreater(self.n_lines, 5)  # of the stream's first events
        if not SANITIZED:
            # Databases' page caches and allocators' arenas fill at some time; 400 bytes of each request would not pass.
            self.assertLess(whole - half, N_LONG // 2 * 400, f"{half} bytes, then {whole}")


if __name__ == "__main__":
    unittest.main()
