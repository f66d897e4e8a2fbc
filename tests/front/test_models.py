"""Several models in one daemon: loaded when somebody asks and once for all who do, unloaded when nobody does, chosen by
role and language."""

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
import unittest

import slow_model
from daemon import SANITIZED
from front import FIXTURES, with_context
from models import LONG_PROMPT, PROMPT, ModelsTest

N_CALLERS = 50
QUIET_S = 12  # after this long without requests nothing happens any more
TOYS = ("qwen2", "qwen3", "qwen3moe", "gemma", "gemma3", "starcoder2", "granite", "format-f32", "format-bf16", "format-q4_k")


class FirstRequests(ModelsTest):
    """Fifty callers want a model that is not in memory, all at one moment."""

    def setUp(self):
        super().setUp()
        self.install("main", "gemma3")
        self.path = self.install("other", "qwen3")
        self.prompts = [PROMPT.format(i) for i in range(N_CALLERS)]

    def send_all(self, model):
        with self.paused():
            return [self.send(model, prompt, user=f"u{i}") for i, prompt in enumerate(self.prompts)]

    def assert_loaded_once(self, name, path):
        self.assertEqual(self.model_status(name)["loads"], 1)
        self.assertEqual(self.n_maps(path), 1)

    def check_all_answered(self, model, path):
        answers = [self.finish(connection) for connection in self.send_all(model)]
        self.assertEqual({a.status for a in answers}, {200}, answers)
        self.assert_loaded_once(model, path)
        self.assertEqual([a.text for a in answers], self.references(model, self.prompts))
        self.assertGreater(len({a.text for a in answers}), 3, "a model that says the same to all proves little")

    def test_of_a_model_that_is_asked_for_by_name(self):
        self.start("main").wait_ready()
        self.assertEqual(self.n_maps(self.path), 0)
        self.check_all_answered("other", self.path)
        self.assertEqual(self.metric("inline_model_loads_total"), 2)

    def test_of_the_main_model(self):
        """Which begins to load by itself."""
        self.start("other")
        self.check_all_answered("other", self.path)
        self.assertEqual(self.metric("inline_model_loads_total"), 1)

    def test_half_of_them_leave(self):
        self.start("main").wait_ready()
        with self.paused():
            sent = [self.send("other", prompt, user=f"u{i}") for i, prompt in enumerate(self.prompts)]
            for connection in sent[::2]:
                connection.close()
        answers = [self.finish(connection) for connection in sent[1::2]]
        self.assertEqual([a.text for a in answers], self.references("other", self.prompts[1::2]), answers)
        self.assert_loaded_once("other", self.path)
        self.assertEqual(self.metric("inline_requests_running"), 0)

    def test_all_of_them_leave(self):
        self.start("main").wait_ready()
        with self.paused():
            for i, prompt in enumerate(self.prompts):
                self.send("other", prompt, user=f"u{i}").close()
        self.assertEqual(self.ask("other", self.prompts[0]).status, 200)
        self.assert_loaded_once("other", self.path)

    def test_of_ten_models(self):
        """More than stay in memory at once; each answers for itself."""
        prompts = self.prompts[:4]
        alone = {}
        for toy in TOYS:
            self.install(toy, toy)
            self.start(toy).wait_ready()
            alone[toy] = self.references(toy, prompts)
            self.assertEqual(self.daemon.stop(), 0)
        self.start("main").wait_ready()
        for _ in range(2):
            with self.paused():
                sent = [(toy, i, self.send(toy, p, user=f"{toy}{i}")) for i, p in enumerate(prompts) for toy in TOYS]
            for toy, i, connection in sent:
                answer = self.finish(connection)
                self.assertEqual(answer.text, alone[toy][i], (toy, answer))
        self.assertEqual({m["name"] for m in self.status()["models"]}, {"main", "other", *TOYS})


class Idle(ModelsTest):
    def setUp(self):
        super().setUp()
        long = self.home / "long.gguf"
        long.write_bytes(with_context(FIXTURES / "models" / "qwen2.gguf", 4096))
        self.path = self.install("toy", long)

    def test_unloads_and_wakes(self):
        """The answer is the same, and what was computed of the prompt comes back from the disk."""
        self.start("toy", MODELS_IDLE_S=1).wait_ready()
        before = self.ask("toy", LONG_PROMPT)
        self.assertGreater(before.body["inline"]["computed"], 128)
        self.wait_state("toy", "installed")
        self.assertEqual(self.n_maps(self.path), 0)
        self.assertEqual(self.metric("inline_model_unloads_total"), 1)
        after = self.ask("toy", LONG_PROMPT)
        self.assertEqual(after.text, before.text)
        self.assertGreaterEqual(after.body["inline"]["restored"], 128, after.body)
        self.assertEqual(self.model_status("toy")["loads"], 2)

    def test_looking_is_not_using(self):
        """What asks about the models, or opens a connection, wakes none and keeps none awake."""
        self.start("toy", MODELS_IDLE_S=1).wait_ready()
        deadline = time.monotonic() + 20
        while self.model_status("toy")["state"] != "installed":
            self.assertLess(time.monotonic(), deadline)
            for path in ("/v1/models", "/metrics", "/health", "/props", "/slots", "/api/tags"):
                self.daemon.get(path)
            time.sleep(0.1)
        for path in ("/v1/models", "/metrics", "/props", "/slots", "/api/tags", "/api/ps"):
            self.daemon.get(path)
        self.assertEqual(self.model_status("toy")["state"], "installed")
        self.assertEqual(self.daemon.get("/health")[0], 200, "one that sleeps answers requests")

    def test_stays_while_it_is_used(self):
        self.start("toy", MODELS_IDLE_S=1).wait_ready()
        for _ in range(8):
            self.ask("toy", PROMPT.format(1))
            time.sleep(0.4)
        self.assertEqual(self.model_status("toy")["loads"], 1)

    def test_zero_is_never(self):
        self.start("toy", MODELS_IDLE_S=0).wait_ready()
        self.ask("toy", PROMPT.format(1))
        time.sleep(1.5)
        self.assertEqual(self.model_status("toy")["state"], "ready")

    def test_the_daemon_rests_afterwards(self):
        """Not one wake-up in three seconds once the model has gone."""
        self.start("toy", MODELS_IDLE_S=1).wait_ready()
        self.ask("toy", PROMPT.format(1))
        self.wait_state("toy", "installed")
        time.sleep(QUIET_S)
        before = self.daemon.n_switches()
        time.sleep(3)
        self.assertEqual(self.daemon.n_switches(), before)


class Failures(ModelsTest):
    def setUp(self):
        super().setUp()
        self.install("main", "gemma3")
        self.path = self.install("other", "qwen3")
        self.good = self.path.read_bytes()

    def spoil(self):
        self.path.write_bytes(b"GGUF" + bytes(1000))

    def test_shared_by_all(self):
        self.spoil()
        self.start("main").wait_ready()
        with self.paused():
            sent = [self.send("other", PROMPT.format(i), user=f"u{i}") for i in range(N_CALLERS)]
        answers = [self.finish(connection) for connection in sent]
        self.assertEqual({a.status for a in answers}, {503}, answers)
        self.assertEqual(len({a.error for a in answers}), 1, answers)
        self.assertIn(str(self.path), answers[0].error)
        self.assertNotIn("\n", answers[0].error)
        self.assertEqual(self.metric("inline_model_load_failures_total"), 1)
        self.assertEqual(self.ask("main", PROMPT.format(1)).status, 200)

    def test_repeated_without_reading(self):
        self.spoil()
        self.start("main").wait_ready()
        first = self.ask("other", PROMPT.format(1))
        with self.leased():
            for _ in range(5):
                begin = time.monotonic()
                again = self.ask("other", PROMPT.format(1))
                self.assertEqual((again.status, again.error), (503, first.error))
                self.assertLess(time.monotonic() - begin, 5 if SANITIZED else 0.5)
            self.assertFalse(self.was_opened)
        self.assertEqual(self.model_status("other")["loads"], 1)

    @contextlib.contextmanager
    def leased(self):
        """Somebody else's open() of the file leaves a mark meanwhile (fcntl(2), "Leases")."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        fd = os.open(self.path, os.O_RDWR)
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            os.close(fd)
            self.skipTest(f"no leases on this file system: {error}")
        self.lease = fd
        yield
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(fd)

    @property
    def was_opened(self):
        return fcntl.fcntl(self.lease, fcntl.F_GETLEASE) != fcntl.F_WRLCK

    def test_tried_again_when_the_file_has_changed(self):
        self.spoil()
        self.start("main").wait_ready()
        self.assertEqual(self.ask("other", PROMPT.format(1)).status, 503)
        self.path.write_bytes(self.good)
        self.assertEqual(self.ask("other", PROMPT.format(1)).status, 200)
        self.assertEqual(self.model_status("other")["loads"], 2)

    def test_tried_again_when_the_file_has_been_replaced(self):
        self.spoil()
        self.start("main").wait_ready()
        self.assertEqual(self.ask("other", PROMPT.format(1)).status, 503)
        new = self.home / "new"
        new.write_bytes(self.good)
        os.rename(new, self.path)
        self.assertEqual(self.ask("other", PROMPT.format(1)).status, 200)

    def test_tried_again_when_asked_by_hand(self):
        self.spoil()
        self.start("main").wait_ready()
        self.assertEqual(self.ask("other", PROMPT.format(1)).status, 503)
        self.assertEqual(self.by_hand("load", "other")[0], 200)
        self.wait_loads("other", 2)
        self.wait_state("other", "failed")
        self.assertEqual(self.ask("other", PROMPT.format(1)).status, 503)
        self.assertEqual(self.model_status("other")["loads"], 2)

    def by_hand(self, what, name):
        status, _, body = self.daemon.post(f"/models/{what}", {"model": name}, unix=True)
        return status, body

    def wait_loads(self, name, n):
        deadline = time.monotonic() + 20
        while self.model_status(name)["loads"] < n:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.02)

    def test_a_main_model_that_fails(self):
        """The daemon stays, says why, and the other models answer."""
        self.spoil()
        self.start("other")
        self.wait_state("other", "failed")
        status, _, body = self.daemon.get("/health")
        self.assertEqual(status, 503)
        self.assertIn(str(self.path), body["error"]["message"])
        self.assertEqual(self.ask("main", PROMPT.format(1)).status, 200)

    def test_a_main_model_that_comes_later(self):
        self.path.unlink()
        self.start("other")
        self.assertEqual(self.ask("", PROMPT.format(1)).status, 503)
        self.path.write_bytes(self.good)
        deadline = time.monotonic() + 20
        while self.ask("", PROMPT.format(1)).status != 200:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.2)


class ByHand(ModelsTest):
    def setUp(self):
        super().setUp()
        self.install("main", "gemma3")
        self.path = self.install("other", "qwen3")

    def change(self, what, name, **kwargs):
        status, _, body = self.daemon.post(f"/models/{what}", {"model": name}, unix=True, **kwargs)
        self.assertEqual(status, 200, body)

    def test_load_and_unload(self):
        self.start("main").wait_ready()
        self.assertEqual(self.model_status("other")["state"], "installed")
        self.change("load", "other")
        self.wait_state("other", "ready")
        self.change("load", "other")
        self.assertEqual(self.model_status("other")["loads"], 1)
        self.change("unload", "other")
        self.wait_state("other", "installed")
        self.assertEqual(self.n_maps(self.path), 0)
        self.change("unload", "other")
        self.assertEqual(self.ask("other", PROMPT.format(1)).status, 200)
        self.assertEqual(self.model_status("other")["loads"], 2)

    def test_the_main_model(self):
        self.start("main").wait_ready()
        self.change("unload", "main")
        self.wait_state("main", "installed")
        self.assertEqual(self.ask("", PROMPT.format(1)).status, 200)

    def test_who_may(self):
        self.start("main").wait_ready()
        for what in ("load", "unload"):
            self.assertEqual(self.daemon.post(f"/models/{what}", {"model": "main"})[0], 403)
            self.assertEqual(self.daemon.post(f"/models/{what}", {"model": "nobody"}, unix=True)[0], 404)
            self.assertEqual(self.daemon.post(f"/models/{what}", [1], unix=True)[0], 400)
            self.assertEqual(self.daemon.post(f"/models/{what}", {"model": "../main"}, unix=True)[0], 404)
        self.assertEqual(self.model_status("main")["state"], "ready")

    def test_unloading_waits_for_what_runs(self):
        """And what comes meanwhile waits for the model to be loaded again."""
        slow = slow_model.write(FIXTURES / "models" / "starcoder2.gguf", self.home / "slow.gguf")
        self.install("slow", slow)
        self.start("slow", ENGINE_SPECULATION="off").wait_ready()
        alone = self.ask("slow", "int a", n_predict=60, user="a").text
        running = self.send("slow", "int a", n_predict=60, user="b")
        while self.model_status("slow")["requests"] == 0:
            time.sleep(0.002)
        self.change("unload", "slow")
        self.assertEqual(self.model_status("slow")["state"], "unloading")
        late = self.send("slow", "int a", n_predict=60, user="c")
        self.assertEqual(self.finish(running).text, alone)
        self.assertEqual(self.finish(late).text, alone)
        self.assertEqual(self.model_status("slow")["loads"], 2)

    def test_unloading_under_load(self):
        """Loaded and unloaded all the while, a model gives only right answers."""
        self.start("main").wait_ready()
        prompts = [PROMPT.format(i) for i in range(8)]
        alone = self.references("other", prompts)
        stop, wrong, n_right = threading.Event(), [], [0] * 4

        def keep_asking(number):
            i = number
            while not stop.is_set():
                answer = self.ask("other", prompts[i % 8], user=f"u{number}")
                if answer.text != alone[i % 8]:
                    wrong.append((i % 8, answer))
                n_right[number] += 1
                i += 1

        threads = [threading.Thread(target=keep_asking, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            self.change("unload", "other")
            time.sleep(0.02)
            self.change("load", "other")
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertGreater(min(n_right), 3)
        self.assertGreater(self.model_status("other")["loads"], 10)


class Roles(ModelsTest):
    """models.instant answers who types, models.main who asks."""

    PLACE = {"input_prefix": "int f(int n)\n{\n    return ", "input_suffix": "\n}\n", "n_predict": 8, "temperature": 0}

    def setUp(self):
        super().setUp()
        self.install("big", "qwen3")
        self.install("small", "qwen2")

    def infill(self, model="", **more):
        status, _, body = self.daemon.post("/infill", {**self.PLACE, "model": model, **more})
        self.assertEqual(status, 200, body)
        return body["content"]

    def alone(self, model, **more):
        """What this model says, by a daemon of its own."""
        self.start(model).wait_ready()
        text = self.infill(priority="asked", **more)
        self.assertEqual(self.daemon.stop(), 0)
        return text

    def start_both(self, **settings):
        self.start("big", MODELS_INSTANT="small", **settings).wait_ready()
        self.wait_state("small", "ready")
        self.wait_state("big", "ready")

    def test_who_answers(self):
        big, small = self.alone("big"), self.alone("small")
        self.assertNotEqual(big, small)
        self.start_both()
        self.assertEqual(self.infill(), small)
        self.assertEqual(self.infill(priority="asked"), big)
        self.assertEqual((self.infill("big"), self.infill("small")), (big, small))
        self.assertEqual((self.model_status("big")["role"], self.model_status("small")["role"]), ("main", "instant"))

    def test_asked_while_the_main_model_is_not_there(self):
        """Nobody waits for the disk: the instant model answers, and the main one is loaded for the next."""
        big, small = self.alone("big"), self.alone("small")
        self.start_both()
        self.daemon.post("/models/unload", {"model": "big"}, unix=True)
        self.wait_state("big", "installed")
        self.assertEqual(self.infill(priority="asked"), small)
        self.wait_state("big", "ready")
        self.assertEqual(self.infill(priority="asked"), big)

    def test_the_main_model_answers_what_is_typed_next(self):
        """When nobody waits it computes what was asked, and its answer is what the caches have from then on."""
        big, small = self.alone("big"), self.alone("small")
        self.start_both(CACHE_MEMORY_MB=8, CACHE_PREFETCH="on")
        self.assertEqual(self.infill(), small)
        deadline = time.monotonic() + 20
        while (text := self.infill()) != big:
            self.assertEqual(text, small)
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)

    def test_one_model_in_both_roles(self):
        self.start("big", MODELS_INSTANT="big").wait_ready()
        self.infill()
        self.infill(priority="asked")
        self.assertEqual(self.model_status("big")["loads"], 1)

    def test_an_instant_model_that_fails(self):
        big = self.alone("big")
        (self.models / "small.gguf").write_bytes(b"GGUF" + bytes(100))
        self.start("big", MODELS_INSTANT="small").wait_ready()
        self.wait_state("small", "failed")
        self.assertEqual(self.infill(), big)

    def test_languages(self):
        self.install("snake", "gemma3")
        big, snake = self.alone("big", filename="a.c"), self.alone("snake", filename="a.py")
        self.start("big", MODELS_LANGUAGES="python=snake").wait_ready()
        self.assertEqual(self.infill(filename="a.c"), big)
        self.assertEqual(self.infill(filename="a.py"), snake)
        self.assertEqual(self.infill("big", filename="a.py"), self.infill("big", filename="a.py", priority="asked"))
        self.assertEqual((self.model_status("snake")["role"], self.model_status("snake")["loads"]), ("language", 1))

    def test_languages_that_are_wrong(self):
        for value in ("python", "python=", "=small", "klingon=small"):
            self.fails("serve", "--listen=127.0.0.1:0", env={"INLINE_MODELS_LANGUAGES": value}, says="models.languages")


class Status(ModelsTest):
    def test_of_the_command(self):
        self.install("toy", "qwen2")
        self.start("toy").wait_ready()
        self.ask("toy", PROMPT.format(1))
        shown = json.loads(self.succeeds("status", "--json").out)
        direct = self.status()
        self.assertEqual(set(shown) - {"running", "socket"}, set(direct) - {"running", "socket"})
        (model,) = [m for m in shown["models"] if m["name"] == "toy"]
        self.assertEqual((model["state"], model["loads"], model["requests"]), ("ready", 1, 0))
        self.assertGreater(model["kv_bytes"], 0)
        self.assertIn("toy", self.succeeds("status").out)


if __name__ == "__main__":
    unittest.main()
