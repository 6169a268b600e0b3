from __future__ import annotations

import pytest

from webrtc_server.bitrate import BitrateRange


@pytest.mark.parametrize(
    ("wanted", "given"), [(0, 250), (249, 250), (250, 250), (700, 700), (2000, 2000), (2001, 2000), (10**9, 2000)]
)
def test_estimates_stay_within_the_range(wanted: int, given: int) -> None:
    assert BitrateRange(start=1000, minimum=250, maximum=2000).clamp(wanted) == given
