from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from pipeline import render as render_module
from pipeline.audio import Int16
from pipeline.avatar import Avatar
from pipeline.features import SAMPLE_RATE, windows_of
from pipeline.render import TAIL_S, CannotRender, duration_of, packets_of, render

FRAME_S = 0.02


def write_sound(path: Path, samples: npt.NDArray[np.float32], rate: int, codec: str, layout: str = "mono") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        pcm = np.rint(samples * 32767).astype(np.int16)
        pcm = np.repeat(pcm[:, None], stream.layout.nb_channels, axis=1)
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate
        for part in av.AudioResampler(format=stream.format.name, layout=layout, rate=rate).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def write_film(path: Path, with_sound: bool) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=44_100, layout="stereo") if with_sound else None
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(np.full((2, 22_050), 0.1, np.float32), format="fltp", layout="stereo")
            frame.sample_rate = 44_100
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def swell(seconds: float, rate: int) -> npt.NDArray[np.float32]:
    """Noise that begins 0.6 s in, within what the tiny model can show."""
    count = int(seconds * rate)
    loudness = 0.02 * 10 ** (0.4 * (1.0 - np.cos(np.arange(count) * 2 * np.pi * 1.3 / rate)))
    loudness[: int(0.6 * rate)] = 0.0
    return (np.random.default_rng(0).uniform(-1.0, 1.0, count) * loudness).astype(np.float32)


class Film:
    """What was rendered, decoded again."""

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            self.video_codec = video.codec_context.name
            self.fps = video.average_rate
            self.colours = (
                video.codec_context.colorspace,
                video.codec_context.color_primaries,
                video.codec_context.color_trc,
                video.codec_context.color_range,
            )
            frames = list(container.decode(video=0))
            self.picture_times = [float(frame.time or 0.0) for frame in frames]
            self.pictures = np.stack([frame.to_ndarray(format="yuv420p") for frame in frames])
        with av.open(str(path)) as container:
            self.sound_codec = container.streams.audio[0].codec_context.name
            frames = list(container.decode(audio=0))
            assert float(frames[0].time or 0.0) == 0.0
            self.sound = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
            self.rate = frames[0].sample_rate


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "film.mp4"


@pytest.mark.parametrize("fps", [25, 30])
def test_a_film_of_a_recording(tiny: Avatar, tmp_path: Path, target: Path, fps: int) -> None:
    source = write_sound(tmp_path / "speech.wav", swell(2.0, 16_000), 16_000, "pcm_s16le")
    told: list[float] = []
    seconds = render(tiny, source, target, fps=fps, progress=told.append)
    film = Film(target)
    # The resampler keeps the last few samples; 20 ms pieces are filled up.
    assert seconds == pytest.approx(2.0 + TAIL_S, abs=FRAME_S)
    assert (film.video_codec, film.sound_codec, film.fps) == ("h264", "aac", fps)
    assert film.colours == (6, 6, 6, 1)
    assert film.pictures.shape[1:] == tiny.backgrounds.shape[1:]
    np.testing.assert_allclose(film.picture_times, np.arange(len(film.pictures)) / fps, atol=1e-3)
    assert len(film.pictures) / fps == pytest.approx(seconds, abs=1 / fps)
    assert film.sound.shape[1] / film.rate == pytest.approx(seconds, abs=0.05)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(seconds, abs=0.05)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("fps", [25, 30])
def test_sound_and_picture_are_those_of_the_same_instant(
    tiny: Avatar, tmp_path: Path, target: Path, fps: int
) -> None:
    samples = swell(2.5, SAMPLE_RATE)
    render(tiny, write_sound(tmp_path / "speech.wav", samples, SAMPLE_RATE, "pcm_s16le"), target, fps=fps)
    film = Film(target)
    onset = int((np.abs(film.sound[0]) > 0.005).argmax()) / film.rate
    assert onset == pytest.approx(0.6, abs=0.01)
    level = np.clip(255 * (windows_of(samples, fps).mean(axis=(1, 2)) + 0.5), 0, 255)
    wanted = 16 + level * 219 / 255
    first, last = int(0.8 * fps), int(2.4 * fps)
    assert np.abs(np.diff(wanted[first:last])).mean() > 4, "one frame off must show"
    for n in range(first, last):
        x0, y0, x1, y1 = tiny.boxes[tiny.background_index((n + fps) / fps)]
        seen = film.pictures[n, y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean()
        assert seen == pytest.approx(wanted[n], abs=4), f"frame {n}"


@pytest.mark.parametrize(
    ("name", "rate", "codec", "layout"),
    [
        ("speech.wav", 44_100, "pcm_s16le", "stereo"),
        ("speech.wav", 8_000, "pcm_mulaw", "mono"),
        ("speech.ogg", 48_000, "libopus", "stereo"),
        ("speech.flac", 44_100, "flac", "mono"),
        ("speech.mp3", 44_100, "libmp3lame", "mono"),
    ],
)
def test_any_recording_is_cut_into_20_ms(tmp_path: Path, name: str, rate: int, codec: str, layout: str) -> None:
    source = write_sound(tmp_path / name, swell(1.5, rate), rate, codec, layout)
    pieces = list(packets_of(source))
    assert {piece.shape for piece in pieces} == {(960, 2)}
    assert len(pieces) * FRAME_S == pytest.approx(1.5, abs=0.06)
    pcm = np.concatenate(pieces)[:, 0]
    assert int((np.abs(pcm) > 200).argmax()) / 48_000 == pytest.approx(0.6, abs=0.03)
    assert duration_of(source) == pytest.approx(1.5, abs=0.06)


def test_the_sound_of_a_film_will_do(tiny: Avatar, tmp_path: Path, target: Path) -> None:
    assert render(tiny, write_film(tmp_path / "film.mp4", with_sound=True), target, fps=30) > TAIL_S


def no_sound(folder: Path) -> Path:
    return write_film(folder / "silent.mp4", with_sound=False)


def not_media(folder: Path) -> Path:
    path = folder / "notes.wav"
    path.write_text("these are notes\n" * 50)
    return path


def nothing_inside(folder: Path) -> Path:
    path = folder / "empty.wav"
    path.write_bytes(b"")
    return path


def header_only(folder: Path) -> Path:
    path = folder / "short.wav"
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(16_000)
    return path


def not_there(folder: Path) -> Path:
    return folder / "nowhere.wav"


def a_folder(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize("source", [no_sound, not_media, nothing_inside, header_only, not_there, a_folder])
def test_what_holds_no_sound_is_refused_by_name(
    tiny: Avatar, tmp_path: Path, target: Path, source: Callable[[Path], Path]
) -> None:
    path = source(tmp_path)
    with pytest.raises(CannotRender) as refusal:
        render(tiny, path, target, fps=30)
    assert str(refusal.value).startswith(f"{path}: ")
    assert list(target.parent.iterdir()) == []


def test_there_is_no_duration_of_what_cannot_be_read(tmp_path: Path) -> None:
    assert duration_of(not_media(tmp_path)) is None
    assert duration_of(not_there(tmp_path)) is None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "speech.wav", swell(1.0, 16_000), 16_000, "pcm_s16le")


@pytest.mark.parametrize("name", ["no/such/folder/film.mp4", "speech.wav/film.mp4", "film.unknown", "film", "."])
def test_a_target_that_cannot_be_written_is_refused_by_name(
    tiny: Avatar, tmp_path: Path, source: Path, name: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CannotRender) as refusal:
        render(tiny, source, tmp_path / name, fps=30)
    assert str(refusal.value).startswith(f"{tmp_path / name}: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_in_the_targets_place_stays(tiny: Avatar, source: Path, target: Path) -> None:
    target.mkdir()
    with pytest.raises(CannotRender, match=str(target)):
        render(tiny, source, target, fps=30)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("name", ["notes.txt", "film.mp4"])
def test_a_failure_leaves_what_was_there_before(
    tiny: Avatar, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def breaking_off(path: Path) -> Iterator[Int16]:
        for _ in range(20):
            yield np.full((960, 2), 1000, np.int16)
        raise CannotRender(f"{path}: cannot be read as sound: it breaks off")

    monkeypatch.setattr(render_module, "packets_of", breaking_off)
    existing = target.with_name(name)
    existing.write_text("precious")
    with pytest.raises(CannotRender):
        render(tiny, source, existing, fps=30)
    assert existing.read_text() == "precious"
    assert list(target.parent.iterdir()) == [existing]


def test_an_interrupted_rendering_leaves_nothing(tiny: Avatar, source: Path, target: Path) -> None:
    def interrupt(seconds: float) -> None:
        if seconds > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tiny, source, target, fps=30, progress=interrupt)
    assert list(target.parent.iterdir()) == []


def test_a_film_may_take_the_place_of_its_own_source(tiny: Avatar, tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", with_sound=True)
    render(tiny, path, path, fps=30)
    assert Film(path).pictures.shape[2] == tiny.width
    assert list(tmp_path.iterdir()) == [path]
