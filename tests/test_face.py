"""The default avatar speaks what it hears: the whole pipeline on virtual time, on a voice the net never heard."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from bench.call import GRID, Openness, envelope_of, quiet_parts, smooth
from pipeline.avatar import Avatar, load_avatar
from pipeline.render import render
from tests.conftest import ROOT
from tests.peer import read_sound

SPEECH = ROOT / "tests" / "data" / "speech-heldout.wav"


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return load_avatar(ROOT / "models" / "default", "cpu")


def test_the_mouth_follows_the_speech_and_rests_in_silence(avatar: Avatar, tmp_path: Path) -> None:
    target = tmp_path / "speech.mp4"
    seconds = render(avatar, SPEECH, target, fps=30)
    look = Openness(avatar.boxes)
    with av.open(str(target)) as container:
        opening = np.array([look(frame) for frame in container.decode(video=0)])
    assert len(opening) == pytest.approx(seconds * 30, abs=1)
    grid = np.arange(0.0, seconds, 1.0 / GRID)
    shown = np.interp(grid, np.arange(len(opening)) / 30.0, opening)
    envelope = envelope_of(read_sound(SPEECH)[:, 0])
    loud = np.interp(grid, np.arange(len(envelope)) / 50.0, envelope, right=0.0)
    assert np.corrcoef(smooth(shown), smooth(loud))[0, 1] >= 0.5
    still = quiet_parts(loud)
    rest = np.median(shown[still])
    assert rest - shown.min() < 0.05 * (np.percentile(shown[~still], 98) - shown.min())
