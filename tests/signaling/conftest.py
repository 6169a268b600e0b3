from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from signaling.errors import SessionNotFound, UnknownAvatar
from signaling.routes import make_app
from signaling.service import Answer, AvatarCard

ADA = AvatarCard(
    name="ada",
    title="Ada",
    description="A presenter",
    licence="MIT",
    credit="Someone",
    width=512,
    height=512,
    fps=30,
    default=True,
)


class FakeSessionService:
    """Sessions that are only names. `error` is what open raises; `gate`, where set, is what open waits for."""

    def __init__(self, poster: Path) -> None:
        self.sessions: dict[str, str | None] = {}
        self.offers: list[str] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.opening = asyncio.Event()
        self.undone = asyncio.Event()
        self.closed = asyncio.Event()
        self.reason: str | None = None
        self.cards = [ADA]
        self._poster = poster

    async def open(self, sdp: str, avatar: str | None) -> Answer:
        self.offers.append(sdp)
        self.opening.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.undone.set()
            raise
        if self.error is not None:
            raise self.error
        session_id = f"s{len(self.sessions) + 1}"
        self.sessions[session_id] = avatar
        return Answer("v=0\r\nanswer", session_id)

    async def close(self, session_id: str) -> None:
        if session_id not in self.sessions:
            raise SessionNotFound(f"there is no session {session_id}")
        del self.sessions[session_id]
        self.closed.set()

    def stats(self, session_id: str) -> dict[str, object]:
        if session_id not in self.sessions:
            raise SessionNotFound(f"there is no session {session_id}")
        return {"session_id": session_id, "state": "connected", "drops": {"late": 2}}

    def avatars(self) -> list[AvatarCard]:
        return self.cards

    def poster(self, name: str) -> Path:
        if name != "ada":
            raise UnknownAvatar(f"there is no avatar {name}")
        return self._poster

    def not_ready_reason(self) -> str | None:
        return self.reason


@pytest.fixture
def static_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "img").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "page.js").write_text("export const answer = 42;\n")
    (folder / ".secret").write_text("secret")
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    return folder


@pytest.fixture
def service(tmp_path: Path) -> FakeSessionService:
    poster = tmp_path / "poster.jpg"
    poster.write_bytes(b"\xff\xd8jpeg")
    return FakeSessionService(poster)


@pytest.fixture
def app(service: FakeSessionService, static_dir: Path) -> web.Application:
    return make_app(service, static_dir, lambda: (b"sessions 1\n", "text/plain; version=1.0.0; charset=utf-8"))


@pytest.fixture
async def runner(app: web.Application) -> AsyncIterator[web.AppRunner]:
    # As in production. aiohttp's TestServer would cancel handlers whose client leaves.
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner
    await runner.cleanup()


@pytest.fixture
def port(runner: web.AppRunner) -> int:
    return runner.addresses[0][1]


@pytest.fixture
async def client(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        yield client
