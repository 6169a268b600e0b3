"""Readiness, refusals and shutdown as an operator meets them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.peer import Int16, Peer
from tests.waiting import until
from webrtc_server.app import Server

Serve = Callable[..., Awaitable[tuple[Server, str]]]


async def get(url: str) -> tuple[int, Any, dict[str, str]]:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        body = await response.json() if "json" in response.content_type else await response.text()
        return response.status, body, dict(response.headers)


async def test_ready_once_the_default_avatar_is_warm(serve: Serve) -> None:
    server, url = await serve()
    assert (await get(f"{url}/healthz"))[0] == 200
    await until(lambda: server.manager.not_ready_reason() is None)
    assert (await get(f"{url}/readyz"))[0] == 200


async def test_a_broken_default_avatar_is_named_and_the_others_serve(
    serve: Serve, tiny_models: Path, tmp_path: Path, bursts: Int16, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_models / "default", tmp_path / "default")
    shutil.copytree(tiny_models / "default", tmp_path / "sound")
    (tmp_path / "default" / "lipsync.onnx").write_bytes(b"not a model")
    server, url = await serve(models_root=str(tmp_path))
    await until(lambda: "cannot be used" in (server.manager.not_ready_reason() or ""))
    status, problem, headers = await get(f"{url}/readyz")
    assert status == 503
    assert "default" in problem["detail"]
    assert int(headers["Retry-After"]) > 0
    assert str(tmp_path / "default" / "lipsync.onnx") in caplog.text
    async with Peer(url, bursts, avatar="sound") as peer:
        await until(lambda: len(peer.received.video_times) > 3)
    body = await (refused := Peer(url, bursts)).offer()
    async with aiohttp.ClientSession() as http, http.post(f"{url}/offer", json=body) as response:
        assert response.status == 500
        assert (await response.json())["title"] == "Avatar unusable"
    await refused.close()


async def test_avatars_and_their_posters(serve: Serve) -> None:
    _, url = await serve()
    status, body, _ = await get(f"{url}/avatars")
    assert status == 200
    [card] = body["avatars"]
    assert (card["name"], card["title"], card["default"]) == ("default", "Tiny", True)
    assert (card["width"], card["height"], card["fps"]) == (64, 64, 30)
    async with aiohttp.ClientSession() as http, http.get(url + card["poster_url"]) as response:
        assert response.content_type == "image/jpeg"


async def test_metrics_count_sessions_refusals_and_windows(serve: Serve, bursts: Int16) -> None:
    server, url = await serve(sessions={"max_sessions": 1})
    async with Peer(url, bursts, loop=True) as peer:
        await until(lambda: len(peer.received.video_times) > 45)
        body = await (second := Peer(url, bursts)).offer()
        async with aiohttp.ClientSession() as http, http.post(f"{url}/offer", json=body) as response:
            assert response.status == 503
        await second.close()
        text = (await get(f"{url}/metrics"))[1]
    assert 'avatar_sessions{state="connected"} 1.0' in text
    assert 'avatar_offers_refused_total{error="ServerFull"} 1.0' in text
    assert "avatar_sessions_opened_total 1.0" in text
    windows = next(line for line in text.splitlines() if line.startswith("avatar_inference_windows_total"))
    assert float(windows.split()[1]) > 5
    assert 'avatar_inference_latency_seconds_bucket{le="+Inf"}' in text
    await until(lambda: server.manager.sessions == [])
    text = (await get(f"{url}/metrics"))[1]
    assert 'avatar_sessions_ended_total{reason="closed by the peer"} 1.0' in text


async def test_shutdown_tells_the_peers(serve: Serve, bursts: Int16) -> None:
    server, url = await serve()
    async with Peer(url, bursts) as peer:
        ended = asyncio.Event()
        peer.connection.on("connectionstatechange", ended.set)
        await server.aclose()
        await asyncio.wait_for(ended.wait(), 5)
        await until(lambda: peer.connection.connectionState == "closed")


async def test_shutdown_waits_for_sessions_already_ending(serve: Serve, bursts: Int16) -> None:
    server, url = await serve()
    async with Peer(url, bursts):
        [session] = server.manager.sessions
        server.manager._on_end(session.id, "test")
        await asyncio.sleep(0)  # the end has begun, and not more than that
        assert server.manager.sessions == []
        assert not session.closed
        await server.manager.aclose()
        assert session.closed
