"""What the model is shown and what the user is: context from the rest of the project, nothing that is secret or
ignored, silence where a suggestion would disturb. The prompts are read from the explanations that a client may
ask for."""

import json
import pathlib
import subprocess
import tempfile
import time
import unittest

from editor import INLINE, EditorTest
from daemon import PATIENCE
from front import FIXTURES, PROGRAM, with_context

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


def planted_secrets():
    """(line, secret) from tests/support/planted_secrets.c, which makes them up when it runs."""
    program = pathlib.Path(PROGRAM).parent / "tests" / "test_secrets"
    out = subprocess.run([program, "list"], capture_output=True, check=True).stdout.decode()
    records = [record.lstrip("\n").split("\1") for record in out.split("\2") if record.strip()]
    return [((before + secret + after).rstrip("\n"), secret) for _, before, secret, after, _ in records]


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

    def test_planted_secrets(self):
        """Fifty secrets: around the cursor, in other open documents, in the project's files, and in chunks that a client
        sends. None reaches a prompt, though the lines that they stand in do."""
        planted = planted_secrets()
        self.assertEqual(len(planted), 50)
        daemon = self.serve()
        editor = self.edit(daemon)
        everything = "".join(f"# {line}\n" for line, _ in planted)
        for i in range(0, 50, 5):
            self.write(f"lib{i}.py", "".join(
                f"def connect_{n}(host):\n    # {line}\n    return host\n\n\n" f"ACCESS_{n} = 1  # {line}\n"
                for n, (line, _) in enumerate(planted[i:i + 5], i)))
        seen, n_masked = "", 0
        for i in range(0, 50, 5):
            lines = [line for line, _ in planted[i:i + 5]]
            uses = "".join(f"connect_{n}(ACCESS_{n})\n" for n in range(i, i + 5))
            text = "\n".join(lines) + "\n" + uses + "value = \n" + "\n".join(lines) + "\n"
            uri = self.write(f"main{i}.py", text)
            editor.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "python", "version": 1,
                                                                    "text": text}})
            why = self.explain(editor, uri, text[:text.index("value = ")].count("\n"), 8)
            n_masked += why["secrets"]
            seen += json.dumps(why, ensure_ascii=False)
            status, _, answer = daemon.post("/infill", {
                "input_prefix": uses, "prompt": "value = ", "input_suffix": everything, "explain": True, "n_predict": 4,
                "input_extra": [{"filename": f"chunk{n}.py", "text": f"def connect_{n}(value):\n    {line}\n    return value\n"}
                                for n, line in enumerate(lines, i)]})
            self.assertEqual(status, 200)
            self.assertTrue(any(p["kind"] == "client" for p in answer["inline"]["explanation"]["context"]), answer)
            n_masked += answer["inline"]["explanation"]["secrets"]
            seen += json.dumps(answer["inline"]["explanation"], ensure_ascii=False)
        self.assertGreaterEqual(n_masked, 100)
        # The index waits until nobody types: so far it may have been empty. Now it is not, and is shown.
        text = "from lib0 import connect_0\n\nvalue = connect_0(ACCESS_0)\nvalue = \n"
        uri = self.write("late.py", text)
        indexed, deadline = [], time.monotonic() + PATIENCE
        while not indexed:
            self.assertLess(time.monotonic(), deadline, "nothing of the indexed files is shown")
            time.sleep(1.2)
            editor.notify("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "python", "version": 1,
                                                                    "text": text}})
            why = self.explain(editor, uri, 3, 8)
            editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
            indexed = [p["text"] for p in why["context"] if p["path"].startswith("lib") and "ACCESS_" in p["text"]]
        self.assertIn("REDACTED", "".join(indexed))  # the line is shown, its secret is not
        seen += json.dumps(why, ensure_ascii=False)
        self.assertIn("REDACTED", seen)
        plain = seen.replace("\\n", "\n").replace('\\"', '"')
        self.assertEqual([secret for _, secret in planted if any(part in plain for part in secret.split("\n"))], [])

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
