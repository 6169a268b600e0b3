"""What follows a failed attempt: the pure part of connection.js, and what it reads from the server's refusal."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEXT_STEP = """async ([what, wasLive, failures]) => {
  const { nextStep } = await import("/static/connection.js");
  const { NoMedia, Unreachable } = await import("/static/session.js");
  const { Problem } = await import("/static/problem.js");
  const error = what === "unreachable" ? new Unreachable() : what === "no media" ? new NoMedia()
    : new Problem(what.status, "title", "detail", "about:blank", what.retryAfterS);
  return nextStep(error, { wasLive, failures, random: 0.5 });
}"""


@pytest.mark.parametrize(
    ("what", "was_live", "expected"),
    [
        ({"status": 503, "retryAfterS": 7}, False, ("full", "full", 7)),
        ({"status": 503, "retryAfterS": None}, True, ("full", "full", 5)),
        ({"status": 503, "retryAfterS": 0}, False, ("full", "full", 1)),
        ({"status": 404, "retryAfterS": None}, True, ("error", "refused", None)),
        ({"status": 502, "retryAfterS": None}, False, ("error", "refused", None)),
        ({"status": 502, "retryAfterS": None}, True, ("reconnecting", "lost", 0.5)),
        ("no media", False, ("error", "no-media", None)),
        ("no media", True, ("reconnecting", "lost", 0.5)),
        ("unreachable", False, ("reconnecting", "unreachable", 0.5)),
        ("unreachable", True, ("reconnecting", "lost", 0.5)),
    ],
)
async def test_next_step(page: Page, what: Any, was_live: bool, expected: tuple[str, str, float | None]) -> None:
    step = await page.evaluate(NEXT_STEP, [what, was_live, 1])
    assert (step["state"], step["trouble"], step["waitS"]) == expected


async def test_back_off_grows_to_a_limit(page: Page) -> None:
    steps = [await page.evaluate(NEXT_STEP, ["unreachable", True, failures]) for failures in range(1, 8)]
    assert [step["waitS"] for step in steps] == [0.5, 1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize(("header", "seconds"), [("12", 12), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("soon", None)])
async def test_retry_after(page: Page, header: str, seconds: float | None) -> None:
    script = """async (header) => {
      const { Problem } = await import("/static/problem.js");
      const problem = await Problem.from(new Response("<html>", { status: 503, headers: { "Retry-After": header } }));
      return [problem.status, problem.title, problem.retryAfterS];
    }"""
    assert await page.evaluate(script, header) == [503, "Error 503", seconds]
