"""What the agent that all of Tabby's plugins share sends, and how it reads.

It connects by asking for the server's health: without a model there it completes nothing, and it takes the
version's description unguarded. Completions carry segments of the file instead of a prompt."""

from clients import LETTER, ClientTest, main

HEADERS = {"User-Agent": "Node.js/v20.20.2 tabby-agent/1.8.0 vim/9.0 TabbyML.vim-tabby/2.0.0"}
SEGMENTS = {
    "prefix": "def add(a, b):\n    return ", "suffix": "\n", "filepath": "src/add.py",
    "git_url": "https://example.com/add.git",
    "declarations": [{"filepath": "src/sub.py", "body": "def sub(a, b): ..."}],
    "relevant_snippets_from_changed_files": [{"filepath": "src/mul.py", "body": "def mul(a, b):", "score": 1.5}],
    "relevant_snippets_from_recently_opened_files": [{"filepath": "src/div.py", "body": "def div(a, b):"}],
    "clipboard": "add(1, 2)", "edit_history": {"edits_diff": "-a\n+b\n"},
}


class Tabby(ClientTest):
    def body(self, **changes):
        return {"language": "python", "segments": {**SEGMENTS, **changes}, "user": "user-1", "temperature": 0.2,
                "seed": 7, "mode": "standard"}

    def ask(self, **changes):
        data = self.posts("/v1/completions", self.body(**changes), headers=HEADERS).json()
        self.assertIsInstance(data["id"], str)
        self.assertTrue(data["id"])
        for choice in data["choices"]:
            self.assertIsInstance(choice["index"], int)
            self.assertIsInstance(choice["text"], str)
        return data

    def test_connecting(self):
        health = self.get("/v1/health", headers=HEADERS)
        self.assertEqual(health.status, 200, health)
        self.assertTrue(health.json()["model"])
        self.assertIsInstance(health.json()["version"]["git_describe"], str)
        # Settings of a team's server; it takes any answer but success as "none".
        self.assertEqual(self.get("/v1beta/server_setting", headers=HEADERS).status, 404)

    def test_segments(self):
        self.assertIn(LETTER, self.ask()["choices"][0]["text"])

    def test_only_a_prefix(self):
        answer = self.posts("/v1/completions", {"language": "python", "segments": {"prefix": "def f():\n    "}})
        self.assertTrue(answer.json()["choices"])

    def test_unset_members_are_null(self):
        self.ask(suffix=None, filepath=None, git_url=None, declarations=None, clipboard=None, edit_history=None,
                 relevant_snippets_from_changed_files=None, relevant_snippets_from_recently_opened_files=None)

    def test_events(self):
        shown = self.ask()["id"]
        for event in ({"type": "view"}, {"type": "select", "elapsed": 900}, {"type": "dismiss", "elapsed": 1200},
                      {"type": "select", "select_kind": "line"}):
            answer = self.post("/v1/events", {"completion_id": shown, "choice_index": 0,
                                              "view_id": f"view-{shown}-at-1", **event}, headers=HEADERS)
            self.assertEqual(answer.status, 200, answer)

    def test_events_of_later_versions_are_accepted_and_broken_ones_are_not(self):
        self.assertEqual(self.post("/v1/events", {"type": "something_new", "a": [1]}, headers=HEADERS).status, 200)
        answer = self.post("/v1/events", {"type": "view", "user": 3}, headers=HEADERS)
        self.assertEqual(answer.status, 400, answer)


if __name__ == "__main__":
    main()
