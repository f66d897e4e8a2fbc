#!/usr/bin/env python3
"""tools/eval: the figures of single suggestions and of many, the list of places, and how holes are chosen."""

import json
import math
import random
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "eval"))

import choose
import daemon
import languages
import places
import report
import scores


class Suggestions(unittest.TestCase):
    def test_edit_distance(self):
        for a, b, distance in (("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)):
            self.assertEqual(scores.edit_distance(a, b), distance, (a, b))
            self.assertEqual(scores.edit_distance(b, a), distance, (b, a))

    def test_similarity(self):
        self.assertEqual(scores.similarity("", ""), 1.0)
        self.assertEqual(scores.similarity("abcd", "abxd"), 0.75)
        self.assertEqual(scores.similarity("abcd", ""), 0.0)

    def test_a_line(self):
        """What comes after the first line does not count, nor does white space at its end."""
        s = scores.score("line", "f(x);  \n}", "f(x);")
        self.assertTrue(s["exact"] and s["exact_line"])
        self.assertEqual((s["similarity"], s["prefix"], s["prefix_share"]), (1.0, 5, 1.0))
        s = scores.score("cross", "f(y);", "f(x);")
        self.assertFalse(s["exact"] or s["exact_line"])
        self.assertEqual((s["similarity"], s["prefix"], s["prefix_share"]), (0.8, 2, 0.4))

    def test_a_block(self):
        """All lines count; white space at their ends and after the last does not, white space before them does."""
        self.assertTrue(scores.score("block", "a;\n    b; \n\n", "a;  \n    b;")["exact"])
        s = scores.score("block", "a;\n  b;", "a;\n    b;")
        self.assertTrue(s["exact_line"])
        self.assertFalse(s["exact"])

    def test_nothing(self):
        s = scores.score("line", "", "return 1;")
        self.assertEqual((s["exact"], s["similarity"], s["prefix_share"]), (False, 0.0, 0.0))


class Many(unittest.TestCase):
    def test_bootstrap(self):
        self.assertEqual(scores.bootstrap([1.0] * 10), (1.0, 1.0, 1.0))
        rng = random.Random(3)
        differences = [rng.gauss(0.5, 1.0) for _ in range(400)]
        mean, low, high = scores.bootstrap(differences)
        self.assertEqual(scores.bootstrap(differences), (mean, low, high))
        self.assertTrue(low < mean < high)
        # The interval of a mean of n values of variance 1 is about twice 1.96 / sqrt(n) wide.
        self.assertAlmostEqual(high - low, 2 * 1.96 / math.sqrt(400), delta=0.03)
        self.assertTrue(all(math.isnan(v) for v in scores.bootstrap([])))

    def test_calibration(self):
        rows = scores.calibration([(math.log(0.95), True), (math.log(0.91), False), (0.0, True), (math.log(0.15), False)])
        self.assertEqual([r["n"] for r in rows], [0, 1, 0, 0, 0, 0, 0, 0, 0, 3])
        self.assertAlmostEqual(rows[-1]["right"], 2 / 3)
        self.assertEqual((rows[0]["shown_above"], rows[0]["right_above"]), (1.0, 0.5))
        self.assertEqual((rows[2]["shown_above"], rows[2]["n_above"]), (0.75, 3))


def answer(name, key, kind="line", text="x", **more):
    return {"pass": name, "key": key, "kind": kind, "language": "c", "text": text, "ms": 1.0, "prompt_tokens": 10,
            "mean_logprob": -0.1, "context_tokens": {}, **(scores.score(kind, text, "x") if kind in places.HOLES else {}), **more}


class Report(unittest.TestCase):
    def test_figures(self):
        rows = [answer("off", "1", text="y"), answer("on", "1"), answer("off", "2"), answer("on", "2"), answer("on", "3"),
                answer("on", "7", "cross", shows_name=True, context_tokens={"import": 8}),
                answer("quiet", "4", "in-word", ""), answer("quiet", "5", "deleting", " "),
                answer("quiet", "6", "after-block"), answer("quiet", "1"), answer("quiet", "2", text="")]
        found = report.figures(rows)
        f = found["holes"]["line"]["all"]
        self.assertEqual((f["passes"]["off"]["n"], f["passes"]["off"]["exact"]), (2, 0.5))
        self.assertEqual((f["passes"]["on"]["n"], f["passes"]["on"]["exact"]), (3, 1.0))
        self.assertEqual((f["differences"]["on-off"]["exact"]["n"], f["differences"]["on-off"]["exact"]["mean"]), (2, 0.5))
        self.assertNotIn("on-window", f["differences"])
        self.assertEqual(found["quiet"]["quiet"]["in-word"], {"n": 1, "quiet": 1.0})
        self.assertAlmostEqual(found["quiet"]["quiet"]["all"]["quiet"], 2 / 3)
        self.assertEqual(found["quiet"]["holes"], {"n": 2, "shown": 0.5, "exact_of_shown": 1.0})
        self.assertEqual(sum(r["n"] for r in found["calibration"]), 4)
        self.assertEqual(found["holes"]["cross"]["all"]["passes"]["on"]["shows_name"], 1.0)
        self.assertEqual(found["holes"]["cross"]["all"]["passes"]["on"]["names_it"], 0.0)
        self.assertEqual(found["context"], {"import": {"share": 0.25, "tokens": 2.0}})
        json.dumps(found)
        self.assertIn("| line's rest | on | 3 | 100.0% |", report.markdown(found))
        self.assertIn("| line's rest | c | 50.0%, 0.500 (2) | 100.0%, 1.000 (3) |", report.markdown(found))
        self.assertIn("| cross-file | c |  | 100.0%, 1.000 (1) |", report.markdown(found))

    def test_nothing(self):
        self.assertEqual(report.markdown(report.figures([])), "")


class List(unittest.TestCase):
    def test_committed(self):
        listed = places.read()
        self.assertEqual(len({p.key for p in listed}), len(listed))
        self.assertEqual({p.language for p in listed}, set(languages.LANGUAGES))
        self.assertEqual(sum(p.kind in places.QUIET for p in listed), 200)
        for place in listed:
            self.assertIn(place.kind, (*places.HOLES, *places.QUIET))
            self.assertEqual(place.length > 0, place.kind in (*places.HOLES, "deleting"), place)
            self.assertEqual(place.name != "-", place.kind == "cross", place)

    def test_cut(self):
        text = "int a = 1;\n"
        place = places.Place("line", "c", "p", "a.c", 8, 2, places.digest(text))
        self.assertEqual(place.cut(text), ("int a = ", "1;", "\n"))
        with self.assertRaises(SystemExit):
            place.cut(text + " ")

    def test_sample(self):
        listed = places.read()
        some = places.sample(listed, 0.2)
        self.assertEqual(some, places.sample(listed, 0.2))
        self.assertLess(len(some), len(listed) / 3)
        self.assertEqual({(p.kind, p.language) for p in some}, {(p.kind, p.language) for p in listed})


HEAD = "/* " + "x" * choose.BEFORE_MIN + " */\n"


class Choosing(unittest.TestCase):
    def source(self, text, path="a.c", package="p"):
        return choose.Source(package, path, HEAD + text)

    def try_all(self, chooser, source, names=None):
        rng = random.Random(1)
        found = [chooser(rng, source, i, names) for i in range(len(source.lines)) for _ in range(5)]
        return {source.text[p.at:p.at + p.length] for p in found if p}

    def test_definitions(self):
        c = "#define MAX_SIZE 3\nint do_it(int a)\n{\n    return call_it(a);\n}\nstruct my_box {\n    int wide;\n};\n"
        self.assertEqual(languages.definitions("a.h", c), {"MAX_SIZE", "do_it", "my_box", "wide"})
        self.assertEqual(languages.definitions("a.c", c), {"MAX_SIZE", "do_it", "my_box"})
        self.assertEqual(languages.definitions("a.py", "LIMIT = 3\nclass A:\n    def f(self):\n        self.x_y = g()\n"),
                         {"LIMIT", "A", "f", "x_y"})

    def test_line(self):
        found = self.try_all(choose.line_hole, self.source("    total = first + second;\n/* total = none; */\n"))
        self.assertIn("total = first + second;", found)
        self.assertTrue(all("total = first + second;".endswith(hole) and len(hole) >= 3 for hole in found), found)

    def test_block(self):
        text = "if (a) {\n    bb = cc(1);\n    dd = ee(2);\n}\nif (f) {\n    one = line(1);\n}\n"
        self.assertEqual(self.try_all(choose.block_hole, self.source(text)), {"bb = cc(1);\n    dd = ee(2);"})

    def test_cross(self):
        """A name that another file defines, that stands here once, and that no other package has."""
        source = self.source("void f(void) {\n    x = far_away(1);\n    y = near_by(2);\n    near_by(3);\n    z = read_all(4);\n}\n")
        names = choose.Names()
        names.add(source)
        names.add(self.source("int far_away(int a);\nint near_by(int a);\nint read_all(int a);\n", "b.h"))
        names.add(self.source("int read_all(int a);\n", "c.h", package="q"))
        found = self.try_all(choose.cross_hole, source, names)
        self.assertTrue(found)
        self.assertTrue(all("far_away(1);" in hole for hole in found), found)

    def test_silence(self):
        source = self.source("    counter = limit + 1234;\n    done();\n}\n\nint next_one = 0;\n")
        for kind in places.QUIET:
            rng = random.Random(1)
            for i in range(len(source.lines)):
                place = choose.CHOOSERS[kind](rng, source, i, None)
                if not place:
                    continue
                before, after = source.text[:place.at][-1], source.text[place.at:][:1]
                if kind in ("in-word", "in-number"):
                    self.assertTrue(before.isalnum() and after.isalnum(), (kind, i))
                elif kind == "after-statement":
                    self.assertEqual((before, after), (";", "\n"))
                elif kind == "after-block":
                    self.assertIn((before, after), (("}", "\n"), ("\n", "")))

    def test_position(self):
        self.assertEqual(daemon.position("ab\nc\U0001f600d\n", 5), {"line": 1, "character": 2})
        self.assertEqual(daemon.position("ab\n", 3), {"line": 1, "character": 0})


if __name__ == "__main__":
    unittest.main()
