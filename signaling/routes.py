"""The HTTP surface: offers and sessions, avatars, health, metrics, and the demo page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from signaling.errors import NotReady, SessionNotFound
from signaling.messages import parse_offer
from signaling.problems import problems
from signaling.service import SessionService

MAX_BODY_BYTES: Final = 64 * 1024
_NOT_READY_RETRY_S: Final = 2

_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_log = logging.getLogger(__name__)


def make_app(service: SessionService, static_dir: Path, metrics: Callable[[], tuple[bytes, str]]) -> web.Application:
    """The application, to be run by an AppRunner with handler_cancellation left off (aiohttp's default).

    static_dir holds index.html and what it loads from /static/; metrics returns a body and its content type.
    Closing sessions at shutdown is up to the service's owner.
    """
    routes = _Routes(service, static_dir.resolve(strict=True), metrics)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[problems])
    app.add_routes(
        [
            web.post("/offer", routes.offer),
            web.get("/sessions/{session_id}", routes.session, name="session"),
            web.delete("/sessions/{session_id}", routes.close_session),
            web.get("/avatars", routes.avatars),
            web.get("/avatars/{name}/poster", routes.poster, name="poster"),
            web.get("/healthz", routes.healthz),
            web.get("/readyz", routes.readyz),
            web.get("/metrics", routes.metrics),
            web.get("/", routes.index),
            web.get("/static/{path:.+}", routes.static),
        ]
    )
    app.on_response_prepare.append(_finish_headers)
    return app


class _Routes:
    def __init__(self, service: SessionService, static_dir: Path, metrics: Callable[[], tuple[bytes, str]]) -> None:
        self._service = service
        self._static_dir = static_dir
        self._metrics = metrics

    async def offer(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(
                text="the body must be application/json", headers={"Accept": "application/json"}
            )
        offer = parse_offer(await _read_body(request))
        answer = await self._service.open(offer.sdp, offer.avatar)
        if request.transport is None:
            # The client left while the session was opened. Handlers are not cancelled for that, so we know the
            # session, and nobody else does.
            _log.info("client left before its answer", extra={"session_id": answer.session_id})
            with contextlib.suppress(SessionNotFound):  # it may have ended by itself
                await self._service.close(answer.session_id)
        url = str(request.app.router["session"].url_for(session_id=answer.session_id))
        message = {
            "sdp": answer.sdp,
            "type": "answer",
            "session_id": answer.session_id,
            "session_url": url,
        }
        return _json(message, status=201, headers={hdrs.LOCATION: url})

    async def session(self, request: web.Request) -> web.Response:
        return _json(self._service.stats(request.match_info["session_id"]))

    async def close_session(self, request: web.Request) -> web.Response:
        await self._service.close(request.match_info["session_id"])
        return web.Response(status=204)

    async def avatars(self, request: web.Request) -> web.Response:
        poster = request.app.router["poster"]
        cards = [
            {**asdict(card), "poster_url": str(poster.url_for(name=card.name))} for card in self._service.avatars()
        ]
        return _json({"avatars": cards})

    async def poster(self, request: web.Request) -> web.FileResponse:
        return _file(self._service.poster(request.match_info["name"]))

    async def healthz(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        reason = self._service.not_ready_reason()
        if reason is not None:
            raise NotReady(reason, _NOT_READY_RETRY_S)
        return _json({"status": "ready"})

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics()
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def index(self, request: web.Request) -> web.FileResponse:
        return await self._static_file("index.html")

    async def static(self, request: web.Request) -> web.FileResponse:
        return await self._static_file(request.match_info["path"])

    async def _static_file(self, name: str) -> web.FileResponse:
        path = await asyncio.to_thread(_find, self._static_dir, name)
        if path is None:
            raise web.HTTPNotFound()
        return _file(path)


async def _read_body(request: web.Request) -> bytes:
    try:
        return await request.read()  # 413 beyond the application's client_max_size, announced or not
    except ConnectionError as error:
        # Nobody is there to be answered, and nothing is wrong here: no 500, no traceback.
        raise web.HTTPBadRequest(text="the connection ended before the body did") from error
    except web.RequestPayloadError as error:
        raise web.HTTPBadRequest(text="the body cannot be decoded") from error


def _find(folder: Path, name: str) -> Path | None:
    """The regular file of that name below a folder; None for anything else, hidden files included."""
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError):
        return None
    return path if inside and not any(part.startswith(".") for part in path.relative_to(folder).parts) else None


def _file(path: Path) -> web.FileResponse:
    # Kept by the browser, but asked for again each time: aiohttp answers 304 by ETag.
    return web.FileResponse(path, headers={hdrs.CACHE_CONTROL: "no-cache"})


def _json(message: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(message, allow_nan=False).encode(),
        content_type="application/json",
        headers=headers,
    )


async def _finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_SECURITY_HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    # Versions of Python and aiohttp are nobody's business.
    response.headers.popall(hdrs.SERVER, None)
