from __future__ import annotations

import json
import logging
import re
import sys
import warnings

import pytest

from webrtc_server.log import JsonFormatter, TextFormatter, setup_logging


@pytest.fixture(autouse=True)
def restored_logging():
    """Logging is the process's: put it back as it was."""
    names = ("", "aiortc", "aioice", "aiohttp.access")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = logging.getLogger().handlers[:]
    yield
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_text_is_a_line_with_time_level_logger_and_session(capsys):
    setup_logging("info", "text")
    logging.getLogger("webrtc_server.manager").info("opened with %s", "ada", extra={"session_id": "s1"})
    logging.getLogger("webrtc_server.manager").warning("no session")
    first, second = capsys.readouterr().err.splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(rf"{time} INFO    webrtc_server\.manager \[s1\] opened with ada", first)
    assert re.fullmatch(rf"{time} WARNING webrtc_server\.manager no session", second)


def test_a_message_cannot_look_like_another_record(capsys):
    setup_logging("info", "text")
    logging.getLogger("x").info("name\n2026-01-01 00:00:00.000 ERROR   x forged\r\n")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_json_is_an_object_per_line(capsys):
    setup_logging("info", "json")
    logging.getLogger("x").info("two\nlines", extra={"session_id": "s1"})
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert first == {"level": "info", "logger": "x", "message": "two\nlines", "session_id": "s1"}
    assert (second["level"], second["message"]) == ("error", "failed")
    assert "ValueError: broken" in second["exception"]
    assert "session_id" not in second


def test_a_traceback_follows_the_line(capsys):
    setup_logging("info", "text")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("x failed")
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "ValueError: broken"


def test_libraries_are_quiet_unless_debugging():
    setup_logging("info", "text")
    assert not logging.getLogger("aioice.ice").isEnabledFor(logging.INFO)
    assert not logging.getLogger("aiortc").isEnabledFor(logging.INFO)
    assert logging.getLogger("aiortc").isEnabledFor(logging.WARNING)
    assert logging.getLogger("pipeline").isEnabledFor(logging.INFO)
    assert not logging.getLogger("pipeline").isEnabledFor(logging.DEBUG)
    setup_logging("debug", "text")
    assert logging.getLogger("aioice.ice").isEnabledFor(logging.DEBUG)
    setup_logging("error", "text")
    assert not logging.getLogger("aioice.ice").isEnabledFor(logging.WARNING)


def test_set_up_twice_logs_once(capsys):
    setup_logging("info", "text")
    setup_logging("info", "json")
    logging.getLogger("x").info("once")
    assert json.loads(capsys.readouterr().err)["message"] == "once"


def test_other_handlers_are_left_alone():
    other = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(other)
    setup_logging("info", "text")
    assert other in logging.getLogger().handlers


def test_warnings_are_logged(capsys):
    setup_logging("info", "text")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    assert "py.warnings" in capsys.readouterr().err


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_stack_is_shown_where_asked_for(formatter):
    record = logging.LogRecord(
        "x", logging.INFO, "x.py", 1, "here", None, None, sinfo="Stack (most recent call last):"
    )
    assert "Stack (most recent" in formatter.format(record)
