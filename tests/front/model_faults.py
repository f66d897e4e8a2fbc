"""How a model server can misbehave: one function for each way, given the answer that the request should have got.

Those that happen in mid-stream come after Settings.fault_after tokens; to an answer that is no stream, after half of
it. FAULTS lists them all by the names that Settings.fault and Settings.mix take."""

import asyncio
import json


async def hang(server, connection, request, answer):
    """Nothing comes, and the connection stays open."""
    await connection.until_gone()


async def hang_headers(server, connection, request, answer):
    """The headers come, then nothing."""
    await answer.begin(None if answer.is_stream else 1000)
    await connection.until_gone()


async def hang_midway(server, connection, request, answer):
    await first_part(server, answer)
    await connection.until_gone()


async def drop(server, connection, request, answer):
    """Closed in good order without a byte: what a keep-alive connection that was idle for too long does."""
    connection.close()


async def refuse(server, connection, request, answer):
    """Drawn for one request, it takes the server away for a while; see also Server.listen."""
    connection.reset()
    server.refusing = asyncio.get_running_loop().create_task(server.refuse_for(server.settings.refuse_ms / 1e3))


async def first_part(server, answer):
    if not answer.is_stream:
        body = await answer.whole()
        await answer.begin(len(body))
        return await answer.send(body[: len(body) // 2])
    await answer.begin()
    n_left = server.settings.fault_after
    pieces = answer.pieces()
    try:
        while n_left > 0 and (piece := await anext_or_none(pieces)):
            await answer.send(piece)
            n_left -= 1
    finally:
        await pieces.aclose()  # its slot is free again
    return None


async def anext_or_none(pieces):
    async for piece in pieces:
        return piece
    return None


async def reset(server, connection, request, answer):
    await first_part(server, answer)
    await connection.sleep(0.005)  # an RST may overtake what it follows at once
    connection.reset()


async def close(server, connection, request, answer):
    """Closed in good order, but in the middle."""
    await first_part(server, answer)
    connection.close()


async def cut(server, connection, request, answer):
    """The stream ends well as far as HTTP goes, but without the event that says so."""
    await first_part(server, answer)
    if answer.is_stream:
        await answer.finish()
    else:
        connection.close()


async def trickle(server, connection, request, answer):
    """A byte now and then."""
    body = await answer.whole()
    for byte in answer.head(len(body)) + body:
        await connection.write(bytes([byte]))
        await connection.sleep(server.settings.byte_ms / 1e3)


def refusal(status, message, headers=()):
    async def refuse_it(server, connection, request, answer):
        given = dict(headers)
        if "Retry-After" in given:
            given["Retry-After"] = server.settings.retry_after
        await plain(connection, status, json.dumps({"error": {"message": message, "code": status}}), given)

    refuse_it.__doc__ = f"HTTP {status}."
    return refuse_it


async def plain(connection, status, body, headers=(), content_type="application/json"):
    data = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": content_type, **dict(headers), "Content-Length": len(data)}
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    await connection.write("\r\n".join(lines).encode() + data)


async def echo_key(server, connection, request, answer):
    """401, with the key that came in its message."""
    said = request.headers.get("authorization", "").removeprefix("Bearer ")
    await plain(connection, 401, json.dumps({"error": {"message": f"Incorrect API key provided: {said}. Find yours"}}))


async def garbage(server, connection, request, answer):
    """No HTTP."""
    await connection.write(bytes((i * 89 + 41) % 256 for i in range(3000)))
    connection.close()


async def garbage_events(server, connection, request, answer):
    """Events that hold no JSON."""
    wrong = b'{"choices": [{"text": \x00\xff]]\n'
    if "event-stream" in answer.content_type:
        wrong = b"data: " + wrong + b"\n"
    await answer.begin(None if answer.is_stream else len(wrong))
    await answer.send(wrong)
    if answer.is_stream:
        await answer.finish()


async def wrong_events(server, connection, request, answer):
    """Events that are JSON of something else."""
    value = b'{"unexpected":[1,2,{"text":7}],"choices":{"a":"b"},"content":[],"response":3}'
    body = b"data: " + value + b"\n\n" if "event-stream" in answer.content_type else value + b"\n"
    await answer.begin(None if answer.is_stream else len(body))
    await answer.send(body)
    if answer.is_stream:
        await answer.finish()


async def error_event(server, connection, request, answer):
    """The server says in mid-stream that it failed."""
    if not answer.is_stream:
        return await FAULTS["500"](server, connection, request, answer)
    await first_part(server, answer)
    await answer.send(server.api.failure("CUDA out of memory"))
    return await answer.finish()


async def long_length(server, connection, request, answer):
    """More is announced than comes; the connection stays open."""
    body = await answer.whole()
    await connection.write(answer.head(len(body) + 1000) + body)
    await connection.until_gone()


async def long_length_close(server, connection, request, answer):
    body = await answer.whole()
    await connection.write(answer.head(len(body) + 1000) + body)
    connection.close()


async def short_length(server, connection, request, answer):
    """Less is announced than comes."""
    body = await answer.whole()
    await connection.write(answer.head(len(body) // 2) + body)


async def huge_line(server, connection, request, answer):
    """One event without an end."""
    await answer.begin(None if answer.is_stream else server.settings.huge_bytes)
    await answer.send(server.api.huge_line)
    await flood(server, answer, b"x" * 65536)


async def huge_lines(server, connection, request, answer):
    """Events without a text, and no end."""
    await answer.begin(None if answer.is_stream else server.settings.huge_bytes)
    await flood(server, answer, server.api.filler(1024) * 64)


async def flood(server, answer, piece):
    for _ in range(server.settings.huge_bytes // len(piece)):
        await answer.send(piece)
    await answer.finish()


async def huge_header(server, connection, request, answer):
    await connection.write(b"HTTP/1.1 200 OK\r\nX-Filler: ")
    for _ in range(server.settings.huge_bytes // 65536):
        await connection.write(b"x" * 65536)
    connection.close()


async def endless(server, connection, request, answer):
    """Tokens that go on whatever max_tokens says."""
    if not answer.is_stream:
        return await answer.give()
    await answer.begin()
    i = 0
    while True:
        await connection.sleep(max(server.settings.token_ms / 1e3, 0.0005))
        await answer.send(server.api.piece(server.settings, answer.ask, f"endless{i} + "))
        i += 1


async def redirect(server, connection, request, answer):
    where = (server.settings.redirect_to or "http://127.0.0.1:9") + request.path
    await plain(connection, 307, "", {"Location": where})


async def html(server, connection, request, answer):
    """What a proxy says, with the status of success."""
    page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>" + "<p>Please sign in.</p>\n" * 50
    await plain(connection, 200, page + "</body></html>", content_type="text/html; charset=utf-8")


async def html_502(server, connection, request, answer):
    await plain(connection, 502, "<html><head><title>502 Bad Gateway</title></head></html>", content_type="text/html")


async def empty(server, connection, request, answer):
    """A success without anything in it."""
    await plain(connection, 200, "", content_type=answer.content_type)


FAULTS = {
    "refuse": refuse,
    "hang": hang,
    "hang-headers": hang_headers,
    "hang-midway": hang_midway,
    "drop": drop,
    "reset": reset,
    "close": close,
    "cut": cut,
    "trickle": trickle,
    "400": refusal(400, "the request is wrong"),
    "401": refusal(401, "invalid key"),
    "401-echo": echo_key,
    "404": refusal(404, "The model `other` does not exist."),
    "429": refusal(429, "Too many requests"),
    "429-retry": refusal(429, "Too many requests", {"Retry-After": ""}),
    "500": refusal(500, "internal error"),
    "503": refusal(503, "Loading model"),
    "503-retry": refusal(503, "overloaded", {"Retry-After": ""}),
    "garbage": garbage,
    "garbage-events": garbage_events,
    "wrong-events": wrong_events,
    "error-event": error_event,
    "long-length": long_length,
    "long-length-close": long_length_close,
    "short-length": short_length,
    "huge-line": huge_line,
    "huge-lines": huge_lines,
    "huge-header": huge_header,
    "endless": endless,
    "redirect": redirect,
    "html": html,
    "html-502": html_502,
    "empty": empty,
}
