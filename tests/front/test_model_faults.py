"""Model files that are truncated, deleted, overwritten or replaced while the daemon computes with them.

Every answer of theirs is right or an error that names the file; nobody crashes; other models notice nothing; and once
there is a good file again, so are the answers."""

import collections
import contextlib
import json
import os
import random
import threading
import time
import unittest

from front import FIXTURES, with_context
from models import LONG_PROMPT, PROMPT, ModelsTest, completion

N_ROUNDS = 100  # of the model's file; of its packed weights, half as many
BACK_SECONDS = 20
GARBAGE = bytes(range(256)) * 16


def truncate(path):
    os.truncate(path, 0)


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


def cut_the_end(path):
    """Within the last page, so that no access to the map fails."""
    os.truncate(path, path.stat().st_size - 100)


def delete(path):
    path.unlink()


def overwrite(path):
    """In place, and as long as before."""
    n = path.stat().st_size
    with open(path, "r+b") as file:
        file.write((GARBAGE * (n // len(GARBAGE) + 1))[:n])


def write_anew(path):
    """As cp does: truncated, then written to."""
    path.write_bytes(GARBAGE)


def replace(path):
    """By another file under its name."""
    new = path.with_suffix(".new")
    new.write_bytes(GARBAGE)
    new.rename(path)


DAMAGES = (truncate, cut_in_half, cut_the_end, delete, overwrite, write_anew, replace)
# Whoever overwrites a file in the cache, byte for byte, gets what `inline model check` finds.
PACK_DAMAGES = (truncate, cut_in_half, cut_the_end, delete, write_anew, replace)


def restore(path, good, in_place):
    """The good file again: written to where it stands, or another under its name."""
    if in_place:
        path.write_bytes(good)
        return
    new = path.with_suffix(".new")
    new.write_bytes(good)
    new.rename(path)


class Client(threading.Thread):
    """Asks one thing after the other; counts right answers, errors that name one of the files, and all else."""

    def __init__(self, test, model, prompts, right, files, stream=False):
        super().__init__()
        self.test, self.model, self.prompts, self.right, self.stream = test, model, prompts, right, stream
        self.files = [str(file) for file in files]
        self.stop = threading.Event()
        self.counts, self.wrong = collections.Counter(), []

    def run(self):
        i = 0
        while not self.stop.is_set() and len(self.wrong) < 5:
            i = (i + 1) % len(self.prompts)
            try:
                text, error = self.ask_stream(i) if self.stream else self.ask(i)
            except (OSError, ValueError) as problem:
                self.wrong.append(repr(problem))
                continue
            if error:
                is_clear = any(file in error for file in self.files) and "\n" not in error
                # What was shown before the error was right.
                is_right = is_clear and any(t.startswith(text) for t in self.right[i])
            else:
                is_right = text in self.right[i]
            self.counts["error" if error else "right"] += is_right
            if not is_right:
                self.wrong.append((i, text, error))

    def ask(self, i):
        answer = self.test.ask(self.model, self.prompts[i], user=self.name)
        return answer.text or "", "" if answer.status == 200 else answer.error or str(answer)

    def ask_stream(self, i):
        body = completion(self.model, self.prompts[i], user=self.name, stream=True)
        status, _, body = self.test.daemon.post("/completion", body)
        if status != 200:
            return "", body["error"]["message"]
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
        text = "".join(event.get("content", "") for event in events)
        return text, "".join(event["error"]["message"] for event in events if "error" in event)

    def end(self):
        self.stop.set()
        self.join()


class Faults(ModelsTest):
    def start_clients(self, clients):
        self.clients = clients
        for client in clients:
            client.start()
            self.addCleanup(client.end)

    def end_clients(self):
        for client in self.clients:
            client.end()
        self.assertIsNone(self.daemon.process.poll(), self.daemon.log)
        for client in self.clients:
            self.assertEqual(client.wrong, [], client.name)

    def wait_answers(self, clients, n):
        """Until each has had n more answers of whatever kind."""
        goals = [(client, client.counts.total() + n) for client in clients]
        deadline = time.monotonic() + BACK_SECONDS
        for client, goal in goals:
            while client.counts.total() < goal and client.is_alive() and time.monotonic() < deadline:
                time.sleep(0.002)
            self.assertGreaterEqual(client.counts.total(), goal, (client.wrong, self.daemon.log[-2000:]))

    def wait_right(self, clients):
        """Until each has had a right answer again."""
        goals = [(client, client.counts["right"] + 1) for client in clients]
        deadline = time.monotonic() + BACK_SECONDS
        for client, goal in goals:
            while client.counts["right"] < goal and client.is_alive() and time.monotonic() < deadline:
                time.sleep(0.002)
            self.assertGreaterEqual(client.counts["right"], goal, (client.wrong, self.daemon.log[-2000:]))

    def wait_mapped(self, path, victims):
        """Until the file that is there now is the one in use: one that was deleted lives on in the daemon's map."""
        self.wait_right(victims)
        deadline = time.monotonic() + BACK_SECONDS
        while self.n_maps(path) == 0 and time.monotonic() < deadline:
            self.daemon.post("/models/unload", {"model": "victim"}, unix=True)
            self.wait_right(victims)
            time.sleep(0.1)  # packed weights may have to be made anew, which unloading would interrupt

    def torment(self, path, damages, n_rounds, victims, bystander, is_noticed):
        """is_noticed: what is done to the bytes that are in use must lead to errors."""
        good = path.read_bytes()
        n_errors = collections.Counter()
        order = random.Random(1)
        self.start_clients([*victims, bystander])
        for i in range(n_rounds):
            damage = order.choice(damages)
            self.wait_mapped(path, victims)
            before = sum(client.counts["error"] for client in victims)
            with contextlib.suppress(FileNotFoundError):  # packed weights that are being made anew
                damage(path)
            self.wait_answers(victims, 2)  # the second was asked for afterwards
            n_errors[damage.__name__] += sum(client.counts["error"] for client in victims) - before
            restore(path, good, in_place=i % 2 == 0 and path.exists())
            self.assertIsNone(self.daemon.process.poll(), (damage.__name__, self.daemon.log))
        self.wait_right(victims)
        self.wait_answers([bystander], 1)
        self.end_clients()
        self.assertEqual(bystander.counts["error"], 0)
        if is_noticed:
            for damage in set(damages) - {delete, replace}:
                self.assertGreater(n_errors[damage.__name__], 0, n_errors)

    def prompts(self):
        return [LONG_PROMPT[8 * i :] + PROMPT.format(37 * i) for i in range(6)]

    def long(self, fixture):
        """A fixture with room for long prompts, whose KV is kept on disk."""
        path = self.home / f"{fixture}.gguf"
        path.write_bytes(with_context(FIXTURES / "models" / f"{fixture}.gguf", 4096))
        return path

    def test_of_the_model(self):
        path = self.install("victim", self.long("qwen2"))
        self.install("other", self.long("gemma"))
        self.start("other").wait_ready()
        prompts = self.prompts()
        right = [[text] for text in self.references("victim", prompts)]
        others = [[text] for text in self.references("other", prompts)]
        self.assertGreater(len({text for (text,) in right}), 2)
        victims = [Client(self, "victim", prompts, right, [path]),
                   Client(self, "victim", prompts[::-1], right[::-1], [path]),
                   Client(self, "victim", prompts, right, [path], stream=True)]
        self.torment(path, DAMAGES, N_ROUNDS, victims, Client(self, "other", prompts, others, []), is_noticed=True)
        # What was computed from damaged weights is nowhere: neither in memory nor on disk.
        self.assertEqual([[text] for text in self.references("victim", prompts)], right)

    def test_of_its_packed_weights(self):
        path = self.install("victim", self.long("format-q8_0"))
        self.install("other", self.long("qwen2"))
        prompts = self.prompts()
        self.start("victim", MODELS_PACK="off").wait_ready()
        plain = self.references("victim", prompts)
        self.assertEqual(self.daemon.stop(), 0)
        self.succeeds("model", "pack", path)
        packs = list((self.home / "cache" / "inline" / "packs").iterdir())
        if len(packs) != 1:
            self.skipTest("this CPU's kernels do not read packed weights")
        self.start("other").wait_ready()
        packed = self.references("victim", prompts)
        self.assertEqual(self.n_maps(packs[0]), 1)
        right = [list(texts) for texts in zip(plain, packed)]
        others = [[text] for text in self.references("other", prompts)]
        victims = [Client(self, "victim", prompts, right, [path, packs[0]]),
                   Client(self, "victim", prompts, right, [path, packs[0]], stream=True)]
        # The daemon may make the file anew before we do.
        self.torment(packs[0], PACK_DAMAGES, N_ROUNDS // 2, victims, Client(self, "other", prompts, others, []), is_noticed=False)

    def test_answers_kept_in_caches(self):
        """No wrong suggestion gets into a cache while the file is damaged."""
        path = self.install("victim", self.long("qwen3"))
        good = path.read_bytes()
        self.start("victim").wait_ready()
        fresh = [PROMPT.format(i) for i in range(60)]
        right = self.references("victim", fresh)
        self.assertEqual(self.daemon.stop(), 0)
        self.start("victim", CACHE_MEMORY_MB=8, CACHE_DISK_MB=8).wait_ready()
        for i, prompt in enumerate(fresh):
            damage = DAMAGES[i % len(DAMAGES)]
            sent = self.send("victim", prompt)
            damage(path)
            self.finish(sent)
            restore(path, good, in_place=False)
        deadline = time.monotonic() + BACK_SECONDS
        while self.ask("victim", "int").status != 200:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.05)
        self.assertEqual(self.references("victim", fresh), right)

    def test_of_another_model_in_its_place(self):
        """What is answered is what the one says, or what the other says, and nothing in between."""
        files = [self.long("qwen2").read_bytes(), self.long("qwen3").read_bytes()]
        prompts, texts = self.prompts(), []
        for fixture in ("qwen2", "qwen3"):
            path = self.install("victim", self.home / f"{fixture}.gguf")
            self.start("victim").wait_ready()
            texts.append(self.references("victim", prompts))
            self.assertEqual(self.daemon.stop(), 0)
        self.start("victim").wait_ready()
        right = [list(pair) for pair in zip(*texts)]
        victims = [Client(self, "victim", prompts, right, [path]),
                   Client(self, "victim", prompts, right, [path], stream=True)]
        self.start_clients(victims)
        for i in range(20):
            self.wait_right(victims)
            restore(path, files[i % 2], in_place=i // 2 % 2 == 0)
        self.end_clients()
        restore(path, files[0], in_place=True)
        deadline = time.monotonic() + BACK_SECONDS
        while self.ask("victim", prompts[0]).text != texts[0][0]:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)
        self.assertEqual(self.references("victim", prompts), texts[0])

    def test_what_the_error_says(self):
        path = self.install("victim", "qwen3")
        self.start("victim").wait_ready()
        self.assertEqual(self.ask("victim", PROMPT.format(1)).status, 200)
        truncate(path)
        answers = [self.ask("victim", PROMPT.format(i)) for i in range(3)]
        for answer in answers:
            self.assertIn(answer.status, (500, 503), answer)
            self.assertIn(str(path), answer.error)
        self.assertRegex(self.daemon.wait_log(r"^inline: error: .*victim.*$")[0], str(path))
        model = self.wait_state("victim", "failed")
        self.assertIn(str(path), model["error"])
        status, _, body = self.daemon.get("/health")
        self.assertEqual(status, 503, body)
        self.assertIn(str(path), body["error"]["message"])


if __name__ == "__main__":
    unittest.main()
