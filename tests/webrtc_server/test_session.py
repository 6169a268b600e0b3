"""Sessions over the real thing: an aiortc peer, HTTP, ICE, DTLS, RTP, on loopback."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.peer import PTIME, Int16, Peer
from tests.tiny_avatar import SIZE
from tests.waiting import until
from webrtc_server.app import Server

Serve = Callable[..., Awaitable[tuple[Server, str]]]


def luma_of_box(frame: av.VideoFrame) -> np.float32:
    """Mean luma of the middle of the tiny avatar's mouth box."""
    return np.float32(frame.to_ndarray(format="yuv420p")[36:42, 24:32].mean())


async def test_speech_comes_back_with_its_picture(serve: Serve, bursts: Int16) -> None:
    _, url = await serve()
    async with Peer(url, bursts, loop=True, look=luma_of_box) as peer:
        assert peer.answer_seconds < 1.0
        await until(lambda: len(peer.received.video_times) >= 90 and len(peer.received.sound) >= 150)
        stats = await peer.stats()
    got = peer.received

    assert stats["state"] == "connected"
    assert stats["video"]["codec"] == "H264"
    assert (stats["video"]["width"], stats["video"]["height"]) == (SIZE, SIZE)
    assert stats["audio"]["packets_lost"] == 0

    # Timestamps keep the rate whatever this machine does: ticks are skipped, not shifted.
    steps = np.diff(got.video_pts)
    assert set(steps % 3000) == {0}
    assert set(np.diff(got.sound_pts) % PTIME) == {0}

    # The sound is the caller's own, in full band.
    assert peer.track.started is not None
    line = got.sound_from(peer.track.started)
    loudness = np.abs(line[: len(line) // PTIME * PTIME].reshape(-1, PTIME)).mean(1)
    assert loudness.max() > 3000
    assert loudness.min() < 100

    # Loud windows make the tiny net's patch bright.
    pictures = np.array(got.pictures)
    assert pictures.max() - pictures.min() > 80


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_the_first_configured_codec_is_sent(serve: Serve, bursts: Int16, codec: str) -> None:
    _, url = await serve(video={"codecs": [codec]})
    async with Peer(url, bursts) as peer:
        await until(lambda: len(peer.received.video_times) >= 10)
        assert (await peer.stats())["video"]["codec"] == codec


async def test_delete_ends_the_session_and_may_be_repeated(serve: Serve, bursts: Int16) -> None:
    server, url = await serve()
    async with Peer(url, bursts) as peer:
        assert await peer.delete() == 204
        assert server.manager.sessions == []
        assert await peer.delete() == 204
        async with aiohttp.ClientSession() as http, http.get(peer.session_url) as response:
            assert response.status == 404
            assert response.content_type == "application/problem+json"


async def test_a_peer_that_closes_its_connection_is_gone_at_once(serve: Serve, bursts: Int16) -> None:
    server, url = await serve()
    peer = Peer(url, bursts)
    await peer.connect()
    await peer.close()
    await until(lambda: server.manager.sessions == [], within_s=3)
    assert server.manager.ended == {"closed by the peer": 1}


async def test_one_session_ends_and_the_other_goes_on(serve: Serve, bursts: Int16) -> None:
    server, url = await serve()
    async with Peer(url, bursts, loop=True) as stays:
        async with Peer(url, bursts, loop=True) as leaves:
            await until(lambda: len(leaves.received.sound) > 10)
            assert await leaves.delete() == 204
        before = len(stays.received.sound)
        await until(lambda: len(stays.received.sound) > before + 25)
        assert [s.state for s in server.manager.sessions] == ["connected"]
        stamps = stays.received.sound_pts
        assert np.diff(stamps).min() > 0


async def test_a_killed_peer_is_closed_after_its_silence(serve: Serve, tmp_path: Path) -> None:
    server, url = await serve(sessions={"silence_timeout_s": 2.0})
    script = (
        "import asyncio, sys\n"
        "import numpy as np\n"
        "from tests.peer import Peer\n"
        "async def main():\n"
        "    peer = Peer(sys.argv[1], np.zeros((960, 2), np.int16))\n"
        "    await peer.connect()\n"
        "    print('connected', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 30)).strip() == b"connected"
    assert len(server.manager.sessions) == 1
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: server.manager.sessions == [], within_s=6)
    assert server.manager.ended == {"nothing from the peer for 2 s": 1}


async def test_an_offer_that_never_connects_is_forgotten(serve: Serve, bursts: Int16) -> None:
    server, url = await serve(sessions={"connect_timeout_s": 1.0})
    peer = Peer(url, bursts)
    body = await peer.offer()
    await peer.close()
    async with aiohttp.ClientSession() as http, http.post(f"{url}/offer", json=body) as response:
        assert response.status == 201
    assert len(server.manager.sessions) == 1
    await until(lambda: server.manager.sessions == [], within_s=5)
    assert server.manager.ended == {"not connected after 1 s": 1}


async def test_mdns_candidates_cost_nothing(serve: Serve, bursts: Int16) -> None:
    _, url = await serve()
    peer = Peer(url, bursts)
    body = await peer.offer()
    line = "a=candidate:1 1 udp 2113937151 01234567-89ab-cdef-0123-456789abcdef.local 50000 typ host\r\n"
    sections = body["sdp"].split("m=")
    body["sdp"] = sections[0] + "".join("m=" + section + line * 3 for section in sections[1:])
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        asked = loop.time()
        async with http.post(f"{url}/offer", json=body) as response:
            assert response.status == 201
    # Resolving one of them takes aioice over a second.
    assert loop.time() - asked < 1.0
    await peer.close()


async def test_fifty_offers_at_once_fill_the_server_exactly(serve: Serve, bursts: Int16) -> None:
    server, url = await serve(sessions={"max_sessions": 3})
    peer = Peer(url, bursts)
    body = await peer.offer()

    async def ask(http: aiohttp.ClientSession) -> tuple[int, str | None, Any]:
        async with http.post(f"{url}/offer", json=body) as response:
            return response.status, response.headers.get("Retry-After"), await response.json(content_type=None)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        answers = await asyncio.gather(*(ask(http) for _ in range(50)))
    assert sorted(status for status, _, _ in answers) == [201] * 3 + [503] * 47
    assert len(server.manager.sessions) == 3
    assert all(int(retry or 0) > 0 for status, retry, _ in answers if status == 503)
    assert all("3 of 3 sessions" in problem["detail"] for status, _, problem in answers if status == 503)
    await peer.close()


async def test_unusable_offers_leave_nothing_behind(serve: Serve, bursts: Int16) -> None:
    server, url = await serve()
    async with Peer(url, bursts):
        pass
    await until(lambda: server.manager.sessions == [])
    peer = Peer(url, bursts)
    good = (await peer.offer())["sdp"]
    await peer.close()
    audio, video = (f"m={section}" for section in good.split("m=")[1:])
    head = good.split("m=")[0]
    cases = [
        ("v=0\r\nnonsense", None, 400),
        ("not sdp at all", None, 400),
        (head + video, None, 422),
        (head + audio, None, 422),
        (good.replace("opus/48000/2", "speex/16000").replace("PCM", "XCM").replace("G722", "G711"), None, 422),
        (good, "nobody", 404),
        (good, "../default", 404),
    ]
    tasks, threads, sockets = _held()
    async with aiohttp.ClientSession() as http:
        for _ in range(3):
            for sdp, avatar, status in cases:
                body = {"sdp": sdp, "type": "offer", **({"avatar": avatar} if avatar else {})}
                async with http.post(f"{url}/offer", json=body) as response:
                    assert response.status == status, (sdp[:80], await response.text())
                    assert response.content_type == "application/problem+json"
    assert server.manager.sessions == []
    await until(lambda: _held()[0] <= tasks and _held()[2] <= sockets)
    assert _held()[1] <= threads


async def test_a_hundred_sessions_leave_no_task_thread_or_socket(serve: Serve, bursts: Int16) -> None:
    server, url = await serve()

    async def once() -> None:
        async with Peer(url, bursts) as peer:
            await until(lambda: len(peer.received.sound) > 0)
        await until(lambda: server.manager.sessions == [])

    # The first ones fill caches and the allocator's pools.
    for _ in range(25):
        await once()
    gc.collect()
    tasks, threads, sockets = _held()
    memory = _resident_mb()
    for _ in range(100):
        await once()
    assert server.manager.opened == 125
    await until(lambda: _held()[0] <= tasks and _held()[2] <= sockets)
    assert _held()[1] <= threads
    gc.collect()
    assert _resident_mb() - memory < 20


def _held() -> tuple[int, int, int]:
    """Tasks, threads (those of bounded pools aside) and open sockets of this process."""
    sockets = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except OSError:
            continue
    # Pools start their threads as they need them, up to a bound.
    pools = ("encode", "load")
    threads = sum(not thread.name.startswith(pools) for thread in threading.enumerate())
    return len(asyncio.all_tasks()), threads, sockets


def _resident_mb() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
