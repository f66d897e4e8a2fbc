#!/usr/bin/env python3
"""docs/ops/ against Prometheus' own promtool and against the daemon: rules fire and resolve, they are those of the
daemon, the daemon's metrics are valid, and nothing in the files names a metric that there is not.

Exit status 77: promtool is not installed."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPS = ROOT / "docs" / "ops"

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
FETCHED = pathlib.Path(os.environ.get("TEST_OPS_DIR") or CACHE / "inline-test-ops")
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=FETCHED)
if not PROMTOOL:
    print("promtool is not installed (tools/setup ops)")
    sys.exit(77)
sys.path.append(str(ROOT / "tests" / "front"))
from daemon import DaemonTest

SUFFIXES = ("_bucket", "_sum", "_count")
FOREIGN = {"up"}  # Prometheus' own


def promtool(*args, **kwargs):
    done = subprocess.run([PROMTOOL, *map(str, args)], capture_output=True, text=True, timeout=60, **kwargs)
    return done.returncode, done.stdout + done.stderr


def known_metrics():
    """Every family that GET /metrics may have, from the documentation of the table (a unit test compares them)."""
    names = set()
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not (name := re.fullmatch(r"`((?:inline|process)_\w+)`", cells[0])):
            continue
        names.add(name[1])
        if cells[1] == "histogram":
            names.update(name[1] + suffix for suffix in SUFFIXES)
            names.add(re.sub(r"_seconds$", "_window_seconds", name[1]))
    assert len(names) > 40, names
    return names


def used_metrics(expression):
    """The names of metrics in an expression: what is no function, label or recorded series."""
    expression = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"(?<![:\w])((?:inline|process)_\w+|up)\b(?!:)", expression))


def rules_of():
    """The rules as a list of {key: value} from the file's YAML, of which the tests need little."""
    text = (OPS / "prometheus-rules.yml").read_text()
    rules = []
    for block in re.split(r"\n      - (?=alert:|record:)", text)[1:]:
        kind, name = re.match(r"(\w+): (\S+)", block).groups()
        expression = re.search(r"\n        expr: (?:>-\n)?(.*?)(?=\n        \w+:|\n      #|\n\n|\Z)", block, re.S)[1]
        rule = re.search(r"rule: ([\w-]+)", block)
        rules.append({"kind": kind, "name": name, "expr": " ".join(expression.split()), "rule": rule and rule[1]})
    return rules


class RulesTest(unittest.TestCase):
    def test_are_valid(self):
        status, said = promtool("check", "rules", "--lint=all", "--lint-fatal", OPS / "prometheus-rules.yml")
        self.assertEqual(status, 0, said)

    def test_fire_and_resolve(self):
        status, said = promtool("test", "rules", "rules_test.yml", cwd=pathlib.Path(__file__).parent)
        self.assertEqual(status, 0, said)

    def test_each_alert_is_tested(self):
        tested = (pathlib.Path(__file__).parent / "rules_test.yml").read_text()
        for rule in rules_of():
            if rule["kind"] == "alert":
                self.assertIn(f"alertname: {rule['name']}\n", tested)

    def test_are_those_of_the_daemon(self):
        """One alert for each row of the daemon's table, with its limit."""
        source = (ROOT / "src" / "watch" / "alert_rules.c").read_text()
        rows = dict(re.findall(r'\{\.name = "([\w-]+)",.*?\.threshold = ([\d.]+)', source, re.S))
        self.assertGreaterEqual(len(rows), 7)
        alerts = {rule["rule"]: rule for rule in rules_of() if rule["kind"] == "alert" and rule["rule"]}
        self.assertEqual(set(alerts), set(rows))
        for name, threshold in rows.items():
            if name == "remote-down":  # more than none of them is down
                self.assertIn("== 0", alerts[name]["expr"])
                continue
            limits = [float(n) for n in re.findall(r"[<>] ([\d.]+)", alerts[name]["expr"])]
            self.assertIn(float(threshold), limits, alerts[name])

    def test_name_metrics_that_exist(self):
        known = known_metrics() | FOREIGN
        recorded = {rule["name"] for rule in rules_of() if rule["kind"] == "record"}
        used = set()
        for rule in rules_of():
            names = used_metrics(rule["expr"])
            used |= names
            self.assertLessEqual(names, known, rule["name"])
            self.assertLessEqual(set(re.findall(r"inline:[\w:]+", rule["expr"])), recorded, rule["name"])
        self.assertGreaterEqual(len(used), 8)

    def test_scrape_config_is_valid(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("prometheus.yml", "prometheus-rules.yml"):
                shutil.copy(OPS / name, folder)
            status, said = promtool("check", "config", pathlib.Path(folder) / "prometheus.yml")
            self.assertNotEqual(status, 0, "the token's file is missing, and nobody says so")
            self.assertIn("inline-token", said)
            (pathlib.Path(folder) / "inline-token").write_text("secret")
            status, said = promtool("check", "config", pathlib.Path(folder) / "prometheus.yml")
            self.assertEqual(status, 0, said)


class DashboardTest(unittest.TestCase):
    def setUp(self):
        self.dashboard = json.loads((OPS / "inline-dashboard.json").read_text())
        self.panels = self.dashboard["panels"]

    def expressions(self):
        for panel in self.panels:
            for target in panel.get("targets", []):
                yield panel, target["expr"]

    def test_panels_are_unique_and_apart(self):
        ids = [panel["id"] for panel in self.panels]
        self.assertEqual(len(ids), len(set(ids)))
        taken = {}
        for panel in self.panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, f"{panel['title']} covers {taken.get((x, y))}")
                    taken[x, y] = panel["title"]

    def test_everything_asks_the_chosen_source(self):
        names = [variable["name"] for variable in self.dashboard["templating"]["list"]]
        self.assertEqual(names, ["datasource", "job", "instance"])
        for panel, expression in self.expressions():
            self.assertEqual(panel["datasource"]["uid"], "${datasource}")
            self.assertIn('job="$job"', expression)
            self.assertTrue(panel["description"], panel["title"])
            self.assertIn("unit", panel["fieldConfig"]["defaults"])

    def test_names_metrics_that_exist(self):
        known, used = known_metrics(), set()
        for panel, expression in self.expressions():
            names = used_metrics(expression)
            self.assertTrue(names, expression)
            self.assertLessEqual(names, known, panel["title"])
            used |= names
        self.assertGreaterEqual(len(used), 25)

    def test_expressions_parse(self):
        """promtool reads expressions in rules: one each, with values in the place of Grafana's variables."""
        lines = ["groups:", "  - name: dashboard", "    rules:"]
        for i, (_, expression) in enumerate(self.expressions()):
            for name, value in (("$job", "inline"), ("$instance", ".*"), ("$__rate_interval", "1m")):
                expression = expression.replace(name, value)
            lines += [f"      - record: dashboard:panel:{i}", f"        expr: {json.dumps(expression)}"]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            status, said = promtool("check", "rules", file.name)
        self.assertEqual(status, 0, said)


class MetricsTest(DaemonTest):
    def scrape(self, d):
        status, headers, body = d.get("/metrics")
        self.assertEqual(status, 200)
        text = body.decode() if isinstance(body, bytes) else body
        said = promtool("check", "metrics", input=text)
        self.assertEqual(said, (0, ""), "promtool has something to say")
        return text

    def test_are_valid(self):
        d = self.start_daemon()
        self.scrape(d)  # before anything happened
        d.wait_ready()
        for i in range(20):
            d.post("/infill", {"input_prefix": f"int x{i % 10} = ", "input_suffix": ";\n", "n_predict": 4})
        d.post("/infill", {"input_prefix": 5})  # an error
        d.post("/v1/completions", {"prompt": "int ", "max_tokens": 2})
        text = self.scrape(d)
        families = set(re.findall(r"^# TYPE (\w+)", text, re.M))
        known = known_metrics()
        self.assertLessEqual(families, known)
        for name in ("inline_request_seconds", "inline_request_window_seconds", "inline_cache_hits_total",
                     "inline_cache_misses_total", "inline_errors_total", "inline_memory_bytes", "inline_build_info"):
            self.assertIn(name, families)
        self.assertRegex(text, r'inline_requests_total\{outcome="ok"\} [1-9]')


if __name__ == "__main__":
    unittest.main()
