"""What the model is shown and what the user is: context from the rest of the project, nothing that is secret or
ignored, silence where a suggestion would disturb. The prompts are read from the explanations that a client may
ask for."""

import json
import pathlib
import struct
import tempfile
import time
import unittest

from editor import INLINE, EditorTest
from daemon import PATIENCE
from front import FIXTURES

FIXTURE = FIXTURES / "models" / "starcoder2.gguf"  # answers nearly everything with one letter; a token for each byte

HEADER = """\
#ifndef GAUGE_H
#define GAUGE_H

/* A value that rises and falls, with its bounds. */
struct gauge_bounds {
    double lowest, highest;
};

/* Take a reading; false if it is out of bounds. */
bool gauge_take_reading(struct gauge_bounds *bounds, double reading);

#endif
"""
MAIN = """\
#include "gauge.h"

static int check(double reading)
{
    struct gauge_bounds bounds = {0, 1};
    return gauge_take_reading(
}
"""


def with_context(path, n):
    """The model file, as if it had been trained for a context of n tokens."""
    data = bytearray(path.read_bytes())
    at = data.index(b"starcoder2.context_length") + len(b"starcoder2.context_length")
    assert struct.unpack_from("<I", data, at) == (4,)  # GGUF's number for uint32
    struct.pack_into("<I", data, at + 4, n)
    return bytes(data)


class ContextTest(EditorTest):
    def setUp(self):
        super().setUp()
        self.model = self.home / "model.gguf"
        self.model.write_bytes(with_context(FIXTURE, 4096))
        self.project = pathlib.Path(tempfile.mkdtemp(dir=self.home)).resolve()

    def write(self, name, text):
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path.as_uri()

    def serve(self, **settings):
        env = {"INLINE_COMPLETE_MAX_TOKENS": "8", "INLINE_CONTEXT_TOKENS": "4000", **settings}
        return self.start_daemon(model=self.model, env=env).wait_ready()

    def edit(self, daemon):
        editor = self.connect(daemon)
        editor.start(INLINE, workspaceFolders=[{"uri": self.project.as_uri(), "name": "project"}])
        return editor

    def ask(self, editor, uri, line, character, kind=1):
        params = {**editor.place(line, character, kind, uri), "explain": True}
        return editor.request("textDocument/inlineCompletion", params)

    def explain(self, *args):
        return self.ask(*args)["inline"]["explanation"]

    def wait_for_piece(self, editor, uri, line, character, wanted):
        """Until the index has what is looked for, an explanation whose context holds it: the editor leaves and comes
        back in between, as what is shown at a place is held."""
        deadline = time.monotonic() + PATIENCE
        while True:
            why = self.explain(editor, uri, line, character)
            found = [p for p in why["context"] if wanted in p["text"]]
            if found:
                return found[0], why
            self.assertLess(time.monotonic(), deadline, why)
            time.sleep(1.2)  # the index waits until nobody has typed for a second
            editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
            editor.open(MAIN, uri)

    def test_definitions_of_other_files(self):
        self.write("src/gauge.h", HEADER)
        uri = self.write("src/main.c", MAIN)
        editor = self.edit(self.serve())
        editor.open(MAIN, uri)
        piece, why = self.wait_for_piece(editor, uri, 5, 30, "bool gauge_take_reading(struct gauge_bounds *bounds")
        self.assertEqual(piece["kind"], "definition")
        self.assertEqual(piece["path"], "src/gauge.h")
        self.assertGreater(piece["tokens"], 0)
        self.assertEqual(why["path"], "src/main.c")
        self.assertEqual(why["language"], "c")
        self.assertTrue(why["prefix"].endswith("gauge_take_reading("))

    def test_what_changes_on_disk(self):
        self.write("src/gauge.h", HEADER)
        uri = self.write("src/main.c", MAIN)
        editor = self.edit(self.serve())
        editor.open(MAIN, uri)
        self.wait_for_piece(editor, uri, 5, 30, "double reading);")
        self.write("src/gauge.h", HEADER.replace("double reading)", "double reading, int unit)"))
        _, why = self.wait_for_piece(editor, uri, 5, 30, "double reading, int unit);")
        self.assertNotIn("double reading);", json.dumps(why["context"]))

    def test_ignored_files(self):
        self.write(".inlineignore", "private/\n")
        self.write("private/gauge.h", HEADER.replace("double reading)", "double hidden)"))
        self.write("other/gauge.h", HEADER)
        uri = self.write("src/main.c", MAIN)
        editor = self.edit(self.serve())
        editor.open(MAIN, uri)
        _, why = self.wait_for_piece(editor, uri, 5, 30, "gauge_take_reading")
        self.assertNotIn("hidden", json.dumps(why))

    def test_builder_off(self):
        self.write("src/gauge.h", HEADER)
        uri = self.write("src/main.c", MAIN)
        editor = self.edit(self.serve(INLINE_CONTEXT_BUILDER="off"))
        editor.open(HEADER, self.write("src/gauge.h", HEADER))
        editor.open(MAIN, uri)
        why = self.explain(editor, uri, 5, 30)
        self.assertEqual(why["context"], [])
        self.assertIn("static int check", why["prefix"])

    def test_secret_file(self):
        uri = self.write(".env", "TOKEN=abc\n")
        editor = self.edit(self.serve())
        editor.open("TOKEN=abc\n", uri)
        result = self.ask(editor, uri, 1, 0)
        self.assertEqual(result["items"], [])
        self.assertEqual(result["inline"]["quiet"], "secret-file")
        self.assertNotIn("abc", json.dumps(result))

    def test_quiet_unless_asked(self):
        uri = self.write("a.c", "int count = total;\nint other = 1;\n")
        editor = self.edit(self.serve())
        editor.open("int count = total;\nint other = 1;\n", uri)
        for line, character, why in ((0, 14, "in-word"), (1, 13, "in-number")):
            with self.subTest(why):
                automatic = self.ask(editor, uri, line, character, 2)
                self.assertEqual(automatic["items"], [])
                self.assertEqual(automatic["inline"]["quiet"], why)
                asked = self.ask(editor, uri, line, character, 1)
                self.assertEqual(asked["inline"]["explanation"]["quiet"], why)
                self.assertEqual(asked["inline"]["quiet"], "")
        editor.change(2, {"range": {"start": {"line": 0, "character": 16}, "end": {"line": 0, "character": 18}}, "text": ""},
                      uri=uri)
        self.assertEqual(self.ask(editor, uri, 0, 16, 2)["inline"]["quiet"], "deleting")

    def test_unsure(self):
        uri = self.write("a.c", "int count = ")
        editor = self.edit(self.serve(INLINE_COMPLETE_CONFIDENCE="100"))
        editor.open("int count = ", uri)
        result = self.ask(editor, uri, 0, 12, 2)
        self.assertEqual((result["items"], result["inline"]["quiet"]), ([], "unsure"))
        self.assertEqual(self.ask(editor, uri, 0, 12, 1)["inline"]["quiet"], "")

    def test_same_prompt_while_typing(self):
        """What stands around the window does not change while somebody types."""
        body = "".join(f"    values[{i}] = compute_{i}(input);\n" for i in range(400))
        text = MAIN + "void fill(double *values, double input)\n{\n" + body + "}\n"
        uri = self.write("src/main.c", text)
        editor = self.edit(self.serve())
        editor.open(text, uri)
        line = text[:text.index("values[200]")].count("\n")
        first = self.explain(editor, uri, line, 4)
        for i, c in enumerate("values[7] = 2;"):
            at = {"line": line, "character": 4 + i}
            editor.change(i + 2, {"range": {"start": at, "end": at}, "text": c}, uri=uri)
            why = self.explain(editor, uri, line, 5 + i)
            self.assertEqual(why["prefix"], first["prefix"] + "values[7] = 2;"[:i + 1])
            self.assertEqual(why["suffix"], first["suffix"])
            self.assertEqual(why["context"], first["context"])
            self.assertFalse(why["anchored"])

    def test_json_explains(self):
        path = self.project / "a.py"
        path.write_text("import os\n\ndef size_of(path):\n    return os.\n")
        for daemon in (False, True):
            if daemon:
                self.serve()
            out = self.succeeds("complete", path, "--line", 4, "--json", "--max-tokens", 4, "--model", self.model,
                                *(() if daemon else ("--no-daemon",)))
            answer = json.loads(out.out)
            self.assertEqual(answer["explanation"]["language"], "python")
            self.assertTrue(answer["explanation"]["prefix"].endswith("    return os."))
            self.assertLess(answer["mean_logprob"], 0)


if __name__ == "__main__":
    unittest.main()
