"""How the server's log reads: lines for a person, or one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

# Their INFO tells of every ICE check and every request; wanted only when debugging.
_CHATTY: Final = ("aiortc", "aioice", "aiohttp.access")


def setup_logging(level: Level, format: Format) -> None:
    """Sends all logging, Python's warnings included, to standard error. May be called again to change its mind.

    Records carrying `extra={"session_id": ...}` name their session.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if format == "text" else JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, TextFormatter | JsonFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING if level == "info" else logging.NOTSET)
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """`2026-11-23 04:05:06.789 INFO    webrtc_server.manager [3f9c] message`, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).astimezone()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S.") + f"{time.microsecond // 1000:03d}"
        session_id = getattr(record, "session_id", None)
        session = "" if session_id is None else f" [{session_id}]"
        # One record, one line: a message must not be able to look like the next record.
        message = record.getMessage().rstrip().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{stamp} {record.levelname:<7} {record.name}{session} {message}"
        trace = _trace(self, record)
        return line if trace is None else f"{line}\n{trace}"


class JsonFormatter(logging.Formatter):
    """{"time", "level", "logger", "message"} and, where there are any, "session_id" and "exception"; time in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        session_id = getattr(record, "session_id", None)
        if session_id is not None:
            entry["session_id"] = session_id
        trace = _trace(self, record)
        if trace is not None:
            entry["exception"] = trace
        return json.dumps(entry, ensure_ascii=False, default=str)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts) or None
