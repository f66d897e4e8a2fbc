"""What model servers say in each of the three APIs, and which text they complete a prompt with.

    OpenAI        POST /v1/completions (server-sent events); GET /v1/models
    llama-server  POST /infill, /completion (server-sent events); GET /props, /health
    Ollama        POST /api/generate (JSON lines), /api/show; GET /api/tags, /api/version

Pure: no I/O. The text is a function of the prompt, so that a test can say what is right: the last word of the prompt
that begins with "hole_" decides, whatever the prompt's layout; without one, the whole prompt does."""

import hashlib
import json
import re

MARK = re.compile(r"hole_\w+")


def key_of(prompt):
    """What decides the answer to a prompt: text, or a list of tokens."""
    if not isinstance(prompt, str):
        return ",".join(map(str, prompt))
    marks = MARK.findall(prompt)
    return marks[-1] if marks else prompt


def right_tokens(prompt, n=6):
    """A sum of n names, a token for each: "w1a2b3c", " + w4d5e6f", ..., and the last one ends with ";"."""
    key = key_of(prompt)
    names = ["w" + hashlib.sha256(f"{key}:{i}".encode()).hexdigest()[:6] for i in range(n)]
    tokens = [(" + " if i else "") + name for i, name in enumerate(names)]
    return [*tokens[:-1], tokens[-1] + ";"] if tokens else []


def right_text(prompt, n=6):
    return "".join(right_tokens(prompt, n))


class Refusal(Exception):
    """An answer with a status beyond 299."""

    def __init__(self, status, body, headers=()):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, dict(headers)


class Ask:
    """A completion that is asked for."""

    def __init__(self, prompt, n_max, stops, is_stream, wants_logprobs):
        self.prompt, self.n_max, self.is_stream, self.wants_logprobs = prompt, n_max, is_stream, wants_logprobs
        self.stops = [stops] if isinstance(stops, str) else [s for s in stops or [] if s]

    def cut(self, tokens):
        """The tokens that a server would send of these, and why it stops there: "eos", "limit" or "word"."""
        sent = tokens if self.n_max is None or self.n_max < 0 else tokens[: self.n_max]
        text = "".join(sent)
        found = [at for at in map(text.find, self.stops) if at >= 0]
        if not found:
            return sent, "eos" if len(sent) == len(tokens) else "limit"
        left, cut = min(found), []
        for token in sent:
            if left > 0:
                cut.append(token[:left])
            left -= len(token)
        return cut, "word"


def sse(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class OpenAI:
    """As vLLM has it, where that leaves a choice."""

    name = "openai"
    content_type = "text/event-stream; charset=utf-8"
    completions = ("/v1/completions",)

    @staticmethod
    def ask(path, body, settings):
        wanted = body.get("model")
        if wanted and wanted != settings.model:
            raise Refusal(404, {"error": {"message": f"The model `{wanted}` does not exist.", "type": "NotFoundError",
                                          "param": "model", "code": 404}})
        if body.get("suffix") and not settings.has_fim:
            raise Refusal(400, {"error": {"message": "suffix is not currently supported", "code": 400,
                                          "type": "BadRequestError", "param": "suffix"}})
        prompt = body.get("prompt", "")
        if isinstance(prompt, str):
            prompt += body.get("suffix") or ""
        return Ask(prompt, body.get("max_tokens", 16), body.get("stop"), body.get("stream"),
                   body.get("logprobs") is not None)

    @staticmethod
    def _answer(settings, ask, text, why, tokens=()):
        logprobs = None
        if ask.wants_logprobs and tokens:
            logprobs = {"tokens": list(tokens), "token_logprobs": [settings.logprob] * len(tokens),
                        "top_logprobs": None, "text_offset": [0] * len(tokens)}
        why = {"eos": "stop", "word": "stop", "limit": "length", None: None}[why]
        return {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": settings.model,
                "choices": [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": why}]}

    @classmethod
    def whole(cls, settings, ask, tokens, why, n_reused):
        answer = cls._answer(settings, ask, "".join(tokens), why, tokens)
        return json.dumps({**answer, "usage": cls._usage(ask, tokens, n_reused)}).encode()

    @staticmethod
    def _usage(ask, tokens, n_reused):
        return {"prompt_tokens": len(ask.prompt), "completion_tokens": len(tokens),
                "total_tokens": len(ask.prompt) + len(tokens), "prompt_tokens_details": {"cached_tokens": n_reused}}

    @classmethod
    def piece(cls, settings, ask, token):
        return sse(cls._answer(settings, ask, token, None, [token]))

    @classmethod
    def last(cls, settings, ask, tokens, why, n_reused):
        usage = {**cls._answer(settings, ask, "", None), "choices": [], "usage": cls._usage(ask, tokens, n_reused)}
        return sse(cls._answer(settings, ask, "", why)) + sse(usage) + b"data: [DONE]\n\n"

    @staticmethod
    def failure(message):
        return sse({"error": {"message": message, "type": "InternalServerError", "code": 500}})

    @staticmethod
    def filler(line_bytes):
        return b": " + b"x" * (line_bytes - 4) + b"\n\n"

    huge_line = b'data: {"choices":[{"index":0,"text":"'

    @staticmethod
    def info(method, path, body, settings):
        if (method, path) == ("GET", "/v1/models"):
            return {"object": "list", "data": [{"id": settings.model, "object": "model", "created": 1700000000,
                                                "owned_by": "vllm", "root": settings.base or settings.model,
                                                "parent": None, "max_model_len": settings.n_ctx}]}
        raise Refusal(404, {"detail": "Not Found"})


class Llama:
    """llama-server's own."""

    name = "llama"
    content_type = "text/event-stream"
    completions = ("/infill", "/completion")

    @staticmethod
    def ask(path, body, settings):
        prompt = body.get("prompt", "")
        if path == "/infill":
            if not settings.has_fim:
                message = "Infill is not supported by this model: prefix token is missing."
                raise Refusal(501, {"error": {"code": 501, "message": message, "type": "not_supported_error"}})
            for name in ("input_prefix", "input_suffix"):
                if not isinstance(body.get(name), str):
                    raise Refusal(400, {"error": {"code": 400, "message": f'"{name}" is required',
                                                  "type": "invalid_request_error"}})
            prompt = body["input_suffix"] + body["input_prefix"] + prompt
        return Ask(prompt, body.get("n_predict"), body.get("stop"), body.get("stream"), bool(body.get("n_probs")))

    @staticmethod
    def _last(settings, ask, content, tokens, why, n_reused):
        n = len(ask.prompt)
        return {"index": 0, "content": content, "tokens": [], "id_slot": 0, "stop": True, "model": settings.model,
                "tokens_predicted": len(tokens), "tokens_evaluated": n, "generation_settings": {}, "prompt": "",
                "has_new_line": False, "truncated": False, "stop_type": why, "stopping_word": "",
                "tokens_cached": n + len(tokens),
                "timings": {"prompt_n": n - n_reused, "cache_n": n_reused, "prompt_ms": 1.0,
                            "predicted_n": len(tokens), "predicted_ms": 1.0}}

    @classmethod
    def _probabilities(cls, settings, ask, tokens):
        if not ask.wants_logprobs:
            return {}
        return {"completion_probabilities": [{"id": 1, "token": t, "bytes": list(t.encode()),
                                              "logprob": settings.logprob, "top_logprobs": []} for t in tokens]}

    @classmethod
    def whole(cls, settings, ask, tokens, why, n_reused):
        answer = cls._last(settings, ask, "".join(tokens), tokens, why, n_reused)
        return json.dumps({**answer, **cls._probabilities(settings, ask, tokens)}).encode()

    @classmethod
    def piece(cls, settings, ask, token):
        return sse({"index": 0, "content": token, "tokens": [1], "stop": False, "id_slot": 0, "tokens_predicted": 1,
                    "tokens_evaluated": len(ask.prompt), **cls._probabilities(settings, ask, [token])})

    @classmethod
    def last(cls, settings, ask, tokens, why, n_reused):
        return sse(cls._last(settings, ask, "", tokens, why, n_reused))

    @staticmethod
    def failure(message):
        return b"error: " + json.dumps({"code": 500, "message": message, "type": "server_error"}).encode() + b"\n\n"

    filler = OpenAI.filler
    huge_line = b'data: {"index":0,"stop":false,"content":"'

    @staticmethod
    def info(method, path, body, settings):
        if (method, path) == ("GET", "/health"):
            return {"status": "ok"}
        if (method, path) == ("GET", "/v1/models"):
            return {"object": "list", "data": [{"id": settings.model, "object": "model", "owned_by": "llamacpp",
                                                "meta": {"n_ctx_train": settings.n_ctx}}]}
        if (method, path) == ("GET", "/props"):
            return {"default_generation_settings": {"n_ctx": settings.n_ctx, "params": {}}, "total_slots": 1,
                    "model_alias": settings.model, "model_path": f"/models/{settings.base or settings.model}",
                    "modalities": {"vision": False, "audio": False}, "chat_template": "", "bos_token": "",
                    "eos_token": "", "build_info": "b1-0000000"}
        raise Refusal(404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}})


class Ollama:
    name = "ollama"
    content_type = "application/x-ndjson"
    completions = ("/api/generate",)

    @staticmethod
    def _check_model(body, settings):
        wanted = body.get("model") or body.get("name") or ""
        if wanted.removesuffix(":latest") != settings.model.removesuffix(":latest"):
            raise Refusal(404, {"error": f"model '{wanted}' not found"})

    @classmethod
    def ask(cls, path, body, settings):
        cls._check_model(body, settings)
        if body.get("suffix") and not settings.has_fim:
            raise Refusal(400, {"error": f"registry.ollama.ai/library/{settings.model} does not support insert"})
        options = body.get("options") or {}
        return Ask(body.get("prompt", "") + body.get("suffix", ""), options.get("num_predict"), options.get("stop"),
                   body.get("stream", True), False)

    @staticmethod
    def _answer(settings, text, **more):
        return {"model": settings.model, "created_at": "2024-01-01T00:00:00.000000Z", "response": text,
                "done": False, **more}

    @classmethod
    def _last(cls, settings, ask, text, tokens, why):
        return cls._answer(settings, text, done=True, done_reason={"limit": "length"}.get(why, "stop"),
                           total_duration=1000000, load_duration=1000, prompt_eval_count=len(ask.prompt),
                           prompt_eval_duration=1000, eval_count=len(tokens), eval_duration=1000)

    @classmethod
    def whole(cls, settings, ask, tokens, why, n_reused):
        return json.dumps(cls._last(settings, ask, "".join(tokens), tokens, why)).encode()

    @classmethod
    def piece(cls, settings, ask, token):
        return json.dumps(cls._answer(settings, token)).encode() + b"\n"

    @classmethod
    def last(cls, settings, ask, tokens, why, n_reused):
        return json.dumps(cls._last(settings, ask, "", tokens, why)).encode() + b"\n"

    @staticmethod
    def failure(message):
        return json.dumps({"error": message}).encode() + b"\n"

    @staticmethod
    def filler(line_bytes):
        head = b'{"model":"m","response":"","done":false,"filler":"'
        return head + b"x" * max(0, line_bytes - len(head) - 3) + b'"}\n'

    huge_line = b'{"model":"m","done":false,"response":"'

    @classmethod
    def info(cls, method, path, body, settings):
        about = {"name": settings.model, "model": settings.model, "size": 1, "digest": "0",
                 "modified_at": "2024-01-01T00:00:00Z", "details": cls._details(settings)}
        if (method, path) == ("GET", "/api/version"):
            return {"version": "0.12.0"}
        if (method, path) == ("GET", "/api/tags"):
            return {"models": [about]}
        if (method, path) == ("POST", "/api/show"):
            cls._check_model(body, settings)
            base = settings.base or settings.model
            return {"license": "", "modelfile": "", "parameters": "", "template": "{{ .Prompt }}",
                    "details": cls._details(settings),
                    "model_info": {"general.architecture": "arch", "general.basename": base,
                                   "arch.context_length": settings.n_ctx},
                    "capabilities": ["completion", *(["insert"] if settings.has_fim else [])]}
        raise Refusal(404, {"error": "404 page not found"})

    @staticmethod
    def _details(settings):
        return {"parent_model": "", "format": "gguf", "family": "arch", "families": ["arch"],
                "parameter_size": "7.6B", "quantization_level": "Q4_K_M"}


APIS = {api.name: api for api in (OpenAI, Llama, Ollama)}
