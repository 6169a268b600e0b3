"""What a microphone, a room and a network do to speech. Sound is float32 at 16 kHz, full scale 1."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, resample_poly

from pipeline.features import SAMPLE_RATE

Sound = npt.NDArray[np.float32]
Rng = np.random.Generator

_OPUS_RATE = 48_000
_OPUS_DELAY = 312
"""Samples at 48 kHz by which libopus delays what it carries (its own look-ahead)."""


def from_db(db: float) -> float:
    return float(10.0 ** (db / 20.0))


def rms(pcm: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64)) + 1e-20))


def resample(pcm: Sound, rate: float) -> Sound:
    """Plays sound `rate` times as fast: pitch and formants move with it. Duration is divided by the returned
    sound's exact ratio len(pcm) / len(result)."""
    ratio = Fraction(1.0 / rate).limit_denominator(40)
    return np.asarray(resample_poly(pcm, ratio.numerator, ratio.denominator), np.float32)


def equalise(pcm: Sound, rng: Rng) -> Sound:
    """A random smooth frequency response: tilt, bumps, and sometimes a telephone's narrow band."""
    spectrum = np.fft.rfft(pcm)
    hz = np.fft.rfftfreq(len(pcm), 1.0 / SAMPLE_RATE)
    octave = np.log2(np.maximum(hz, 30.0) / 1000.0)
    knots = np.linspace(-5, 3, 9)
    curve = np.interp(octave, knots, rng.normal(0, 3.0, len(knots))) + rng.uniform(-3.0, 3.0) * octave
    if rng.random() < 0.5:
        curve -= 12.0 * np.maximum(0.0, np.log2(rng.uniform(50, 350) / np.maximum(hz, 20.0)))
    if rng.random() < 0.3:
        curve -= 24.0 * np.maximum(0.0, np.log2(np.maximum(hz, 20.0) / rng.uniform(3200, 7600)))
    return np.fft.irfft(spectrum * 10.0 ** (np.clip(curve, -60, 18) / 20.0), len(pcm)).astype(np.float32)


def reverberate(pcm: Sound, rng: Rng) -> Sound:
    """A small synthetic room; the direct sound stays where it was."""
    seconds = rng.uniform(0.08, 0.6)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.normal(size=len(time)) * 10.0 ** (-3.0 * time / seconds)
    tail[: int(rng.uniform(0.001, 0.012) * SAMPLE_RATE)] = 0.0
    tail *= from_db(rng.uniform(-22.0, -3.0)) / np.sqrt(np.sum(tail**2) + 1e-12)
    tail[0] = 1.0
    return np.asarray(fftconvolve(pcm, tail)[: len(pcm)], np.float32)


def _coloured(count: int, rng: Rng) -> Sound:
    """Hiss, fan or rumble: noise with a random slope and a random peak."""
    spectrum = np.fft.rfft(rng.normal(size=count))
    hz = np.maximum(np.fft.rfftfreq(count, 1.0 / SAMPLE_RATE), 20.0)
    spectrum *= hz ** rng.uniform(-1.2, 0.4)
    centre, width = rng.uniform(100, 6000), rng.uniform(0.2, 1.5)
    spectrum *= 1.0 + rng.uniform(0, 4) * np.exp(-((np.log2(hz / centre) / width) ** 2))
    return np.fft.irfft(spectrum, count).astype(np.float32)


def _hum(count: int, rng: Rng) -> Sound:
    time = np.arange(count) / SAMPLE_RATE
    base = rng.choice([50.0, 60.0, rng.uniform(80, 240)])
    fall = rng.uniform(0.0, 1.5)
    waves = [
        rng.random() / k**fall * np.sin(2 * np.pi * (base * k * time + rng.random()))
        for k in range(1, rng.integers(3, 16))
    ]
    return np.sum(waves, axis=0).astype(np.float32)


def bursts(count: int, rng: Rng) -> Sound:
    """Keys, clicks, knocks: short decaying noises at random instants."""
    out = np.zeros(count, np.float32)
    for start in rng.integers(0, count, max(1, int(count / SAMPLE_RATE * rng.uniform(0.5, 8)))):
        length = int(rng.uniform(0.002, 0.06) * SAMPLE_RATE)
        length = min(length, count - int(start))
        burst = rng.normal(size=length) * np.exp(-np.arange(length) / (length / 5 + 1))
        out[start : start + length] += (burst * rng.uniform(0.2, 1.0)).astype(np.float32)
    return out


def breath(count: int, rng: Rng) -> Sound:
    """Breathing close to the microphone: noise that swells and fades."""
    time = np.arange(count) / SAMPLE_RATE
    swell = np.maximum(0.0, np.sin(2 * np.pi * (time / rng.uniform(1.2, 4.0) + rng.random()))) ** 2
    return (_coloured(count, rng) * swell).astype(np.float32)


def noise(count: int, rng: Rng) -> Sound:
    """One or two kinds of non-speech sound at an RMS of 1."""
    kinds = (_coloured, _coloured, _hum, bursts, breath)
    out = np.zeros(count, np.float32)
    for k in rng.choice(len(kinds), rng.integers(1, 3), replace=False):
        part = kinds[k](count, rng)
        out += part / np.float32(rms(part) + 1e-9) * np.float32(rng.uniform(0.2, 1.0))
    return out / np.float32(rms(out) + 1e-9)


def through_opus(pcm: Sound, bit_rate: int) -> Sound:
    """Encodes and decodes with libopus at 20 ms packets; same length, and still in step with the original."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = _OPUS_RATE
    encoder.layout = "mono"
    encoder.format = "s16"
    encoder.bit_rate = bit_rate
    encoder.options = {"application": "voip", "compression_level": "3"}
    encoder.open()
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = _OPUS_RATE
    decoder.layout = "mono"
    samples = resample_poly(pcm, 3, 1)
    block = _OPUS_RATE // 50
    samples = np.pad(samples, (0, -len(samples) % block + block))
    samples = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    decoded = []
    for i in range(0, len(samples), block):
        frame = av.AudioFrame.from_ndarray(samples[None, i : i + block], format="s16", layout="mono")
        frame.sample_rate = _OPUS_RATE
        frame.pts = i
        for packet in encoder.encode(frame):
            decoded += [f.to_ndarray() for f in decoder.decode(packet)]
    joined = np.concatenate(decoded, axis=1)[0]
    if joined.dtype == np.int16:
        joined = joined.astype(np.float32) / 32768.0
    out = resample_poly(joined[_OPUS_DELAY:], 1, 3)[: len(pcm)]
    return np.pad(out, (0, len(pcm) - len(out))).astype(np.float32)


def degrade(pcm: Sound, rng: Rng) -> Sound:
    """Speech as a server may get it; the same length and timing as the input, at any level from faint to clipped."""
    out = pcm * np.float32(from_db(-20.0) / rms(pcm))
    if rng.random() < 0.8:
        out = equalise(out, rng)
    if rng.random() < 0.5:
        out = reverberate(out, rng)
    if rng.random() < 0.75:
        out = out + noise(len(out), rng) * np.float32(rms(out) * from_db(-rng.uniform(0.0, 35.0)))
    out = np.clip(out * np.float32(from_db(rng.uniform(-22.0, 8.0))), -1.0, 1.0)
    if rng.random() < 0.4:
        out = through_opus(out, int(rng.uniform(12_000, 64_000)))
    return out


def silence(count: int, rng: Rng) -> Sound:
    """No speech: nothing at all, or noise from inaudible to loud."""
    if rng.random() < 0.15:
        return np.zeros(count, np.float32)
    out = noise(count, rng) * np.float32(from_db(rng.uniform(-80.0, -18.0)))
    if rng.random() < 0.3:
        out = equalise(out, rng)
    out = np.clip(out, -1.0, 1.0).astype(np.float32)
    return through_opus(out, int(rng.uniform(12_000, 64_000))) if rng.random() < 0.3 else out
