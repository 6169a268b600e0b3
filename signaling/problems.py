"""Every error as application/problem+json (RFC 9457), those of aiohttp and of our own bugs included."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from signaling.errors import SignalingError, Unavailable

_log = logging.getLogger(__name__)

_TYPE_PREFIX = "urn:problem-type:avatar-server:"
_BODY_HEADERS = (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except SignalingError as error:
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else None
        return _response(error.status, error.title, error.detail, slug=error.slug, headers=headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        # Keeps what the status obliges us to say, such as Allow beside 405.
        headers = {str(name): value for name, value in error.headers.items() if name not in _BODY_HEADERS}
        return _response(error.status, HTTPStatus(error.status).phrase, _detail(error, request), headers=headers)
    except Exception:
        instance = f"urn:uuid:{uuid.uuid4()}"
        _log.exception("%s %s failed (%s)", request.method, request.raw_path, instance)
        detail = "the server failed to handle this request; its log says why, under the instance given here"
        return _response(500, "Internal Server Error", detail, instance=instance)


def _detail(error: web.HTTPException, request: web.Request) -> str:
    match error:
        case web.HTTPMethodNotAllowed():
            return f"{request.method} is not allowed here; allowed: {', '.join(sorted(error.allowed_methods))}"
        case web.HTTPRequestEntityTooLarge():
            return f"the body is larger than {request.client_max_size} bytes"
        case web.HTTPNotFound():
            return "there is nothing at this path"
        case _:
            return error.text or error.reason


def _response(
    status: int,
    title: str,
    detail: str,
    *,
    slug: str | None = None,
    instance: str | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    problem: dict[str, object] = {
        "type": "about:blank" if slug is None else _TYPE_PREFIX + slug,
        "title": title,
        "status": status,
        "detail": detail,
    }
    if instance is not None:
        problem["instance"] = instance
    return web.Response(
        status=status,
        body=json.dumps(problem).encode(),
        content_type="application/problem+json",
        headers=headers,
    )
