#!/usr/bin/env python3
"""tools/check_layers on small trees: each rule reports what breaks it and accepts what does not."""

import importlib.machinery
import importlib.util
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
PATH = str(Path(__file__).parents[2] / "tools" / "check_layers")
LOADER = importlib.machinery.SourceFileLoader("check_layers", PATH)
check_layers = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_layers", LOADER))
LOADER.exec_module(check_layers)


def check(files):
    """The faults in a tree of {path below src/: text}."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = Path(root, "src", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check_layers.check_tree(Path(root))[1]


class CheckLayers(unittest.TestCase):
    def accept(self, name, text, **others):
        self.assertEqual(check({name: text, **others}), [])

    def refuse(self, name, text, *expected, **others):
        faults = check({name: text, **others})
        self.assertEqual(len(faults), len(expected), faults)
        for fault, part in zip(faults, expected):
            self.assertIn(part, fault)

    def test_floors(self):
        headers = {f"{folder}/x.h": "" for folder in ("base", "os", "kern", "infer", "complete", "cli")}
        for name, header in [
            ("os/a.c", "base/x.h"),
            ("infer/a.c", "kern/x.h"),
            ("infer/a.c", "infer/x.h"),
            ("cli/a.c", "kern/x.h"),
            ("main.c", "cli/x.h"),
        ]:
            self.accept(name, f'#include "{header}"\n', **headers)
        for name, header, fault in [
            ("base/a.c", "os/x.h", "src/base/a.c:2: base/ includes os/x.h, which is above it"),
            ("infer/a.c", "complete/x.h", "above it"),
            ("kern/a.c", "os/x.h", "kern/ never includes os/"),
            ("context/a.c", "kern/x.h", "context/ never includes kern/"),
            ("context/a.c", "infer/x.h", "context/ never includes infer/"),
            ("infer/a.c", "x.h", "FOLDER/NAME.h"),
            ("infer/a.c", "base/gone.h", "no such file"),
        ]:
            self.refuse(name, f'\n#include "{header}"\n', fault, **headers)

    def test_commented_include(self):
        self.accept("base/a.c", '/*\n#include "os/x.h"\n*/\n// #include <uv.h>\n')

    def test_fences(self):
        for folder, header in [
            ("net", "curl/curl.h"),
            ("cli", "ini.h"),
            ("kern", "immintrin.h"),
            ("os", "uv.h"),
        ]:
            self.accept(f"{folder}/a.c", f"#include <{header}>\n")
        for folder, header in [
            ("infer", "curl/curl.h"),
            ("api", "ini.h"),
            ("model", "immintrin.h"),
            ("os", "arm_neon.h"),
            ("base", "sqlite3.h"),
            ("complete", "tree_sitter/api.h"),
        ]:
            self.refuse(f"{folder}/a.c", f"#include <{header}>\n", f"{header} stays in")

    def test_system_macros(self):
        self.accept("os/a.c", "#ifdef __linux__\n#endif\n")
        self.refuse("model/a.c", "#if defined(__linux__)\n#endif\n", "a.c:1: __linux__ is tested in os/ only")

    def test_banned_calls(self):
        twice = "void f(char *d) {\n    strcpy(d, d);\n    free (d);\n}\n"
        self.refuse("os/a.c", twice, "2: strcpy", "3: free")
        self.accept("base/mem.c", "void f(void *p) { free(p); }\n")
        for call in ["mem_free(p);", "p->free(p);", "p.free(p);", 'puts("atoi(x)");', "/* gets() */"]:
            self.accept("os/a.c", f"void f(void) {{ {call} }}\n")

    def test_size(self):
        long = "int f(void);\n" * 801
        self.accept("os/a.c", "int f(void);\n" * 800 + "/* comment */\n\n" * 500)
        self.refuse("os/a.c", long, "801 lines of code")
        self.accept("os/a.c", "/* The data table of everything. */\n" + long)
        self.accept("os/a.c", "/* layers: allow size, one grammar */\n" + long)

    def test_mutable_globals(self):
        for text in [
            "static int x;",
            "int x = 3;",
            "static const char *x;",
            "static struct foo x[2][3] = {{1}};",
            "static void (*x)(int);",
            "struct foo *x;",
            "static const char *x[] = {\n    0,\n};",
        ]:
            self.refuse("os/a.c", f"\n{text}\n", "a.c:2: x is a mutable global")
        for text in [
            "static const int x = 1;",
            "static const char *const x[] = {0};",
            "static _Thread_local int x;",
            "struct foo { int x; };",
            "enum foo { X };",
            "struct foo;",
            "typedef int x;",
            "static int f(void (*g)(int), int x);",
            "static void (*const x)(int) = f;",
            "struct foo *f(void)\n{\n    static int x;\n    return 0;\n}",
            "static const struct {\n    int a;\n} x[] = {{1}};",
            "#define X(a) \\\n    int a;\nenum e { A };",
        ]:
            self.accept("os/a.c", f"\n{text}\n")
        self.accept("base/log.c", "static int x;\n")

    def test_exemptions(self):
        self.accept("os/a.c", "void f(void *p) { free(p); } /* layers: allow free, from getline */\n")
        self.accept("os/a.c", "/* layers: allow x, set by a signal handler */\nstatic int x;\n")
        self.refuse("os/a.c", "int f(void); /* layers: allow free, no reason */\n", "excuses nothing")
        self.refuse("os/a.c", "/* layers: allow free */\nint f(void);\n", "an exemption reads")

    def test_unknown_folder(self):
        self.refuse("misc/a.c", "", "not in a folder of the table")


if __name__ == "__main__":
    unittest.main()
