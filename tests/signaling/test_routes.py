from __future__ import annotations

import asyncio
import dataclasses
import logging

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from signaling.errors import InvalidOffer, ServerFull, UnknownAvatar, UnsupportedOffer
from signaling.routes import MAX_BODY_BYTES

OFFER = {"sdp": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n", "type": "offer"}


async def problem(response: aiohttp.ClientResponse, status: int) -> dict[str, object]:
    """The body of an error response, its general shape checked."""
    assert response.status == status
    assert response.content_type == "application/problem+json"
    body = await response.json(content_type="application/problem+json")
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["type"] == "about:blank" or body["type"].startswith("urn:problem-type:avatar-server:")
    assert response.headers["Cache-Control"] == "no-store"
    return body


# Sessions


async def test_an_offer_opens_a_session(client, service):
    async with client.post("/offer", json={**OFFER, "avatar": "ada"}) as response:
        assert response.status == 201
        assert response.headers["Location"] == "/sessions/s1"
        assert await response.json() == {
            "sdp": "v=0\r\nanswer",
            "type": "answer",
            "session_id": "s1",
            "session_url": "/sessions/s1",
        }
    assert service.offers == [OFFER["sdp"]]
    assert service.sessions == {"s1": "ada"}


async def test_an_offer_may_leave_the_avatar_open(client, service):
    async with client.post("/offer", json=OFFER) as response:
        assert response.status == 201
    assert service.sessions == {"s1": None}


async def test_figures_of_a_session_and_its_end(client, service):
    async with client.post("/offer", json=OFFER) as response:
        url = response.headers["Location"]
    async with client.get(url) as response:
        assert response.status == 200
        assert await response.json() == {"session_id": "s1", "state": "connected", "drops": {"late": 2}}
        assert response.headers["Cache-Control"] == "no-store"
    async with client.delete(url) as response:
        assert response.status == 204
        assert await response.read() == b""
    assert service.sessions == {}
    for request in (client.get, client.delete):
        async with request(url) as response:
            body = await problem(response, 404)
            assert body["type"].endswith(":session-not-found")
            assert body["detail"] == "there is no session s1"


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (InvalidOffer("the SDP has no media"), 400, "invalid-offer"),
        (UnknownAvatar("there is no avatar bob"), 404, "unknown-avatar"),
        (UnsupportedOffer("the offer has no audio"), 422, "unsupported-offer"),
        (ServerFull("all 4 sessions are taken", retry_after_s=7), 503, "server-full"),
    ],
)
async def test_refusals_of_the_service(client, service, error, status, slug):
    service.error = error
    async with client.post("/offer", json=OFFER) as response:
        body = await problem(response, status)
        assert body["type"].endswith(f":{slug}")
        assert body["detail"] == str(error)
        assert response.headers.get("Retry-After") == ("7" if status == 503 else None)


async def test_a_body_that_is_no_offer(client, service):
    async with client.post("/offer", json={"type": "offer"}) as response:
        assert (await problem(response, 400))["detail"] == 'the field "sdp" is missing'
    assert service.offers == []


@pytest.mark.parametrize("content_type", ["application/sdp", "text/plain", "", None])
async def test_only_json_is_taken(client, service, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    skip = {"Content-Type"} if content_type is None else set()
    async with client.post("/offer", data=b"{}", headers=headers, skip_auto_headers=skip) as response:
        assert "application/json" in (await problem(response, 415))["detail"]
        assert response.headers["Accept"] == "application/json"
    assert service.offers == []


async def test_json_may_name_its_charset(client):
    async with client.post("/offer", json=OFFER, headers={"Content-Type": "application/json; charset=utf-8"}) as r:
        assert r.status == 201


async def chunks(total: int):
    for _ in range(total // 1024):
        yield b" " * 1024


async def test_an_oversized_body_is_refused(client, service):
    json_type = {"Content-Type": "application/json"}
    async with client.post("/offer", data=b" " * (MAX_BODY_BYTES + 1), headers=json_type) as response:
        assert str(MAX_BODY_BYTES) in (await problem(response, 413))["detail"]
    async with client.post("/offer", data=chunks(4 * MAX_BODY_BYTES), headers=json_type) as response:
        await problem(response, 413)
    assert service.offers == []


async def test_a_body_of_the_largest_size_is_read(client, service):
    offer = aiohttp.JsonPayload(OFFER)
    padded = offer.decode() + " " * (MAX_BODY_BYTES - offer.size)
    async with client.post("/offer", data=padded, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 201


async def test_a_body_that_is_not_what_its_encoding_says(client, service):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with client.post("/offer", data=b"not gzip at all", headers=headers) as response:
        await problem(response, 400)
    assert service.offers == []


# Clients that leave


async def send(port: int, body: bytes, announced: int) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /offer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {announced}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return writer


async def leave(writer: asyncio.StreamWriter, client: aiohttp.ClientSession) -> None:
    writer.transport.abort()
    # Answered after the server saw the other connection end, which came first.
    async with client.get("/healthz") as response:
        assert response.status == 200


async def test_a_client_that_leaves_while_its_session_opens_leaves_no_session(client, service, port):
    service.gate = asyncio.Event()
    body = aiohttp.JsonPayload(OFFER).decode().encode()
    writer = await send(port, body, len(body))
    await service.opening.wait()
    await leave(writer, client)
    assert not service.undone.is_set()
    service.gate.set()
    await service.closed.wait()
    assert service.sessions == {}


async def test_a_client_that_leaves_within_its_body_is_no_fault_of_ours(client, service, port, runner, caplog):
    writer = await send(port, b'{"sdp"', 1000)
    async with client.get("/healthz") as response:
        assert response.status == 200
    await leave(writer, client)
    await runner.cleanup()
    assert service.offers == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_cancelled_handler_cancels_the_opening(app, service):
    service.gate = asyncio.Event()
    async with TestClient(TestServer(app)) as client:
        request = asyncio.create_task(client.post("/offer", json=OFFER))
        await service.opening.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await service.undone.wait()
    assert service.sessions == {}


# Avatars


async def test_avatars(client, service):
    service.cards = [service.cards[0], dataclasses.replace(service.cards[0], name="bob b", default=False)]
    async with client.get("/avatars") as response:
        assert response.status == 200
        body = await response.json()
    assert body["avatars"][0] == {
        "name": "ada",
        "title": "Ada",
        "description": "A presenter",
        "licence": "MIT",
        "credit": "Someone",
        "width": 512,
        "height": 512,
        "fps": 30,
        "default": True,
        "poster_url": "/avatars/ada/poster",
    }
    assert body["avatars"][1]["poster_url"] == "/avatars/bob%20b/poster"


async def test_poster(client):
    async with client.get("/avatars/ada/poster") as response:
        assert response.status == 200
        assert response.content_type == "image/jpeg"
        assert await response.read() == b"\xff\xd8jpeg"
        assert response.headers["Cache-Control"] == "no-cache"
    async with client.get("/avatars/bob/poster") as response:
        assert (await problem(response, 404))["type"].endswith(":unknown-avatar")


# Health and metrics


async def test_health_and_readiness(client, service):
    async with client.get("/readyz") as response:
        assert response.status == 200
    service.reason = "the default avatar is loading"
    async with client.get("/readyz") as response:
        body = await problem(response, 503)
        assert body["detail"] == "the default avatar is loading"
        assert int(response.headers["Retry-After"]) > 0
    async with client.get("/healthz") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok"}


async def test_metrics(client):
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
        assert await response.text() == "sessions 1\n"


# The page


async def test_the_page_and_its_files(client):
    async with client.get("/") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
    async with client.get("/static/page.js") as response:
        assert response.status == 200
        assert response.content_type in ("text/javascript", "application/javascript")
        assert response.headers["Cache-Control"] == "no-cache"
        assert "Last-Modified" in response.headers
        tag = response.headers["ETag"]
    async with client.get("/static/page.js", headers={"If-None-Match": tag}) as response:
        assert response.status == 304


@pytest.mark.parametrize(
    "path",
    [
        "/static/none.js",
        "/static/",
        "/static",
        "/static/img",
        "/static/img/",
        "/static/.secret",
        "/static/link.txt",
        "/static/../outside.txt",
        "/static/img/../../outside.txt",
        "/static/%2e%2e/outside.txt",
        "/static/..%2foutside.txt",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/a%00b",
        "/static/" + "x" * 5000,
    ],
)
async def test_nothing_else_is_served(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # By hand: a client library would tidy the path.
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert response.startswith(b"HTTP/1.1 404 ")
    assert b"application/problem+json" in response


async def test_security_headers_are_on_everything(client):
    for path in ("/", "/static/page.js", "/healthz", "/nothing"):
        async with client.get(path) as response:
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
            assert "connect-src 'self'" in response.headers["Content-Security-Policy"]
            assert "microphone=(self)" in response.headers["Permissions-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in response.headers


# Errors that are nobody's in particular


async def test_unknown_path_and_method(client):
    async with client.get("/nothing") as response:
        assert (await problem(response, 404))["type"] == "about:blank"
    async with client.get("/offer") as response:
        assert "POST" in (await problem(response, 405))["detail"]
        assert response.headers["Allow"] == "POST"
    async with client.post("/sessions/s1") as response:
        await problem(response, 405)
        assert response.headers["Allow"] == "DELETE,GET,HEAD"


@pytest.mark.parametrize(
    "error", [RuntimeError("secret /etc/x"), ConnectionResetError("secret"), TimeoutError("secret")]
)
async def test_a_bug_is_a_500_that_tells_nothing_and_is_logged(client, service, caplog, error):
    service.error = error
    async with client.post("/offer", json=OFFER) as response:
        body = await problem(response, 500)
        assert "secret" not in await response.text()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info[1] is error
    assert body["instance"] in record.getMessage()


async def test_a_redirect_is_not_an_error(app, service):
    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/")

    app.router.add_get("/moved", moved)
    async with TestClient(TestServer(app)) as client, client.get("/moved", allow_redirects=False) as response:
        assert response.status == 302
        assert response.content_type == "text/plain"
