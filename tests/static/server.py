"""The demo page's server for its tests: real HTTP, faked answers, and a second page as the WebRTC peer."""

from __future__ import annotations

import asyncio
import io
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from aiohttp import web
from playwright.async_api import Page

STATIC = Path(__file__).resolve().parents[2] / "static"

# Answers an offer with a moving picture and a tone; window.drop() ends every call, as a dying server does.
PEER = """
const peers = [];
window.drop = () => peers.splice(0).forEach((peer) => peer.close());
window.fallSilent = () => peers.forEach((peer) => peer.getSenders().forEach((sender) => sender.replaceTrack(null)));
window.channels = () => peers.map((peer) => peer.channel?.label);
window.answer = async (sdp) => {
  const peer = new RTCPeerConnection();
  peers.push(peer);
  peer.addEventListener("datachannel", ({ channel }) => { peer.channel = channel; });
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const pencil = canvas.getContext("2d");
  let shade = 0;
  setInterval(() => {
    pencil.fillStyle = `hsl(${(shade += 7) % 360} 60% 50%)`;
    pencil.fillRect(0, 0, 64, 64);
  }, 33);
  const context = new AudioContext();
  const tone = new MediaStreamAudioDestinationNode(context);
  const oscillator = new OscillatorNode(context);
  oscillator.connect(tone);
  oscillator.start();
  const stream = new MediaStream([...canvas.captureStream(30).getTracks(), ...tone.stream.getTracks()]);
  for (const track of stream.getTracks()) peer.addTrack(track, stream);
  await peer.setRemoteDescription({ type: "offer", sdp });
  await peer.setLocalDescription();
  await new Promise((resolve) => {
    const check = () => peer.iceGatheringState === "complete" && resolve();
    peer.addEventListener("icegatheringstatechange", check);
    check();
  });
  return peer.localDescription.sdp;
};
"""


def problem(status: int, slug: str, title: str, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = f"urn:problem-type:avatar-server:{slug}"
    body = {"type": kind, "title": title, "status": status, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


@dataclass
class PageServer:
    """Answers what the page asks for; `refusals` are given out first, one for each offer."""

    peer: Page
    """A page with PEER in it."""
    refusals: list[web.Response] = field(default_factory=list)
    offers: list[dict[str, Any]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Ids of the sessions that the page has deleted, in that order."""
    deleted: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_policy])
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/static/speech-sample.wav", self._sample),
                web.static("/static", STATIC),
                web.get("/avatars", self._avatars),
                web.get("/avatars/{name}/poster", self._poster),
                web.post("/offer", self._offer),
                web.get("/sessions/{id}", self._stats),
                web.delete("/sessions/{id}", self._delete),
            ]
        )
        return app

    async def _index(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(STATIC / "index.html")

    async def _sample(self, request: web.Request) -> web.Response:
        # A second and a half of a tone stands in for the speech: tests see it end.
        tone = 8000 * np.sin(2 * np.pi * 220 * np.arange(24000) / 16000)
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, 16000, 0, "NONE", ""))
            writer.writeframes(tone.astype("<i2").tobytes())
        return web.Response(body=file.getvalue(), content_type="audio/wav")

    async def _avatars(self, request: web.Request) -> web.Response:
        shared = {"licence": "CC0", "credit": "Nobody.", "width": 64, "height": 64, "fps": 30}
        ada = {"name": "default", "title": "Ada", "description": "A presenter.", "default": True}
        bruno = {"name": "bruno", "title": "Bruno", "description": "Another one.", "default": False}
        cards = [{**card, **shared, "poster_url": f"/avatars/{card['name']}/poster"} for card in (bruno, ada)]
        return web.json_response({"avatars": cards})

    async def _poster(self, request: web.Request) -> web.Response:
        picture = np.full((64, 64, 3), (90, 120, 160), np.uint8)
        return web.Response(body=cv2.imencode(".jpg", picture)[1].tobytes(), content_type="image/jpeg")

    async def _offer(self, request: web.Request) -> web.Response:
        self.offers.append(await request.json())
        if self.refusals:
            return self.refusals.pop(0)
        session_id = f"session-{len(self.offers)}"
        url = f"/sessions/{session_id}"
        answer = {
            "sdp": await self.peer.evaluate("(sdp) => answer(sdp)", self.offers[-1]["sdp"]),
            "type": "answer",
            "session_id": session_id,
            "session_url": url,
        }
        return web.json_response(answer, status=201, headers={"Location": url})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response({"session_id": request.match_info["id"], "playout": {"delay_ms": 200}})

    async def _delete(self, request: web.Request) -> web.Response:
        self.ended.append(request.match_info["id"])
        self.deleted.set()
        return web.Response(status=204)


@web.middleware
async def _policy(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    return response
