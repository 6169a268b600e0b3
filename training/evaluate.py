"""Measures the trained nets on speech and mouths that were not trained on, and draws what to look at.

    python -m training.evaluate --mouths training/work/mouths --loop training/work/idle

Prints a table, and writes contact_sheet.png (every mouth shape) and filmstrip.png (held-out speech) to --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pipeline.features import SAMPLE_RATE, windows_of
from training import augment
from training.audio_net import AudioNet
from training.export import load_nets
from training.mouth_pairs import MouthPairs, background_crops, load_pairs
from training.onnx_session import cpu_session
from training.patch_net import PatchNet
from training.speech_corpus import FPS, HELD_OUT_VOICE, REST, Utterance, held_out_utterances
from training.studio import visemes
from training.studio.visemes import MOUTH_KEYS
from training.train_patch import MOUTH_BOX, held_out_psnr

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

_BILABIALS: Final = ("m", "em", "b", "p")
_LABIODENTALS: Final = ("f", "v")
_TRACKS: Final = {
    "jaw opening": ("jawOpen",),
    "lip spread": ("mouthStretch", "mouthSmile", "mouthDimple"),
    "pucker": ("mouthPucker", "mouthFunnel"),
    "lip raise": ("mouthUpperUp", "mouthLowerDown"),
}
_CLOSED_ROLL: Final = 0.10
"""mouthRollUpper from which the lips are pressed together: only m, b and p have any, 0.22 when complete."""
_CLOSED_JAW: Final = 0.06
_FILM_FRAMES: Final = 40


def column(name: str) -> int:
    return MOUTH_KEYS.index(name)


def heard(net: AudioNet, pcm: Float32) -> Float32:
    """Mouth values minus rest for every video frame of a recording: (frames, 15)."""
    with torch.inference_mode():
        return np.asarray(net(torch.from_numpy(windows_of(pcm, FPS))).numpy(), np.float32)


def wanted(utterance: Utterance) -> Float32:
    """The same from the phone times, one row per video frame: (frames, 15)."""
    track = visemes.mouth_track(utterance.phones, FPS) - REST
    frames = -(-len(utterance.pcm) * FPS // SAMPLE_RATE)
    out = np.zeros((frames, len(MOUTH_KEYS)), np.float32)
    out[: min(frames, len(track))] = track[:frames]
    return out


def correlation(a: Float32, b: Float32) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def lag_frames(a: Float32, b: Float32, reach: int = 4) -> int:
    """By how many frames a comes after b, from their best correlation."""
    lags = range(-reach, reach + 1)
    inner = b[reach:-reach]
    return max(lags, key=lambda k: correlation(a[reach + k : len(a) - reach + k], inner))


def closures(mouth: Float32, utterance: Utterance) -> list[bool]:
    """For each m, b and p: do the lips close in it, in at least one video frame?"""
    closed = (mouth[:, column("mouthRollUpper")] > _CLOSED_ROLL) & (mouth[:, column("jawOpen")] < _CLOSED_JAW)
    out = []
    for name, start, end in utterance.phones:
        if name in _BILABIALS:
            first, last = int(start * FPS), int(np.ceil(end * FPS))
            out.append(bool(closed[first : last + 1].any()))
    return out


def tucks(mouth: Float32, utterance: Utterance) -> list[bool]:
    """For each f and v: is the lower lip drawn under the teeth, in at least one video frame?"""
    tucked = mouth[:, column("mouthRollLower")] > 0.2
    return [
        bool(tucked[int(s * FPS) : int(np.ceil(e * FPS)) + 1].any())
        for name, s, e in utterance.phones
        if name in _LABIODENTALS
    ]


def openness(mouth: Float32) -> Float32:
    """One number per frame that grows as the lips part: jaw, and the lips raised off each other."""
    return np.asarray(
        mouth[:, column("jawOpen")]
        + 0.3 * np.maximum(0, mouth[:, column("mouthLowerDown")] + mouth[:, column("mouthUpperUp")]),
        np.float32,
    )


def conditions(pcm: Float32) -> dict[str, Float32]:
    """One recording as it may arrive: each of the same length and timing."""
    rng = np.random.default_rng(3)
    level = augment.rms(pcm)
    hiss = rng.normal(size=len(pcm)).astype(np.float32)

    def at(db: float) -> Float32:
        return np.clip(pcm * np.float32(augment.from_db(db)), -1, 1).astype(np.float32)

    return {
        "clean": pcm,
        "-20 dB": at(-20),
        "+6 dB": at(6),
        "white noise, 10 dB SNR": pcm + hiss * np.float32(level * augment.from_db(-10)),
        "Opus 16 kbit/s": augment.through_opus(pcm, 16_000),
        "room": augment.reverberate(pcm, np.random.default_rng(5)),
    }


def silences(seconds: float = 6.0) -> dict[str, Float32]:
    count = int(seconds * SAMPLE_RATE)
    rng = np.random.default_rng(4)

    def at(pcm: Float32, db: float) -> Float32:
        return (pcm / np.float32(augment.rms(pcm)) * np.float32(augment.from_db(db))).astype(np.float32)

    time = np.arange(count) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3, 5))
    return {
        "zeros": np.zeros(count, np.float32),
        "hiss -50 dBFS": at(rng.normal(size=count).astype(np.float32), -50),
        "hiss -30 dBFS": at(rng.normal(size=count).astype(np.float32), -30),
        "hum -35 dBFS": at(np.asarray(hum, np.float32), -35),
        "clicks -35 dBFS": at(augment.bursts(count, rng), -35),
        "breath -40 dBFS": at(augment.breath(count, rng), -40),
    }


def hearing_row(name: str, got: list[Float32], spoken: list[Utterance]) -> str:
    all_got, joined = np.concatenate(got), np.concatenate([wanted(u) for u in spoken])
    cells = []
    for keys in _TRACKS.values():
        columns = [column(k) for k in keys]
        cells.append(f"{correlation(all_got[:, columns].sum(1), joined[:, columns].sum(1)):.3f}")
    jaw = column("jawOpen")
    lag = lag_frames(all_got[:, jaw], joined[:, jaw])
    closed = [c for m, u in zip(got, spoken, strict=True) for c in closures(m, u)]
    tucked = [t for m, u in zip(got, spoken, strict=True) for t in tucks(m, u)]
    cells += [f"{lag:+d}", f"{np.mean(closed):.0%} of {len(closed)}", f"{np.mean(tucked):.0%} of {len(tucked)}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def hearing_table(net: AudioNet, recordings: list[Utterance]) -> list[str]:
    """Correlation with the mouth that the phones ask for, over all frames of all held-out sentences."""
    lines = ["| held-out speech | " + " | ".join(_TRACKS) + " | lag, frames | m b p closed | f v tucked |"]
    lines.append("|" + "---|" * (len(_TRACKS) + 4))
    spoken = held_out_utterances()
    varied = [conditions(u.pcm) for u in spoken]
    lines += [
        hearing_row(f"{HELD_OUT_VOICE}, {name}", [heard(net, v[name]) for v in varied], spoken) for name in varied[0]
    ]
    if recordings:
        got = [heard(net, u.pcm) for u in recordings]
        lines.append(hearing_row("real recordings", got, recordings))
    jaw = column("jawOpen")
    own = np.concatenate([heard(net, u.pcm)[:, jaw] for u in spoken])
    right = np.concatenate([wanted(u)[:, jaw] for u in spoken])
    lines.append("")
    lines.append(
        f"jaw of {HELD_OUT_VOICE}: mean {own.mean():.3f} (wanted {right.mean():.3f}), spread {own.std():.3f} "
        f"({right.std():.3f}), movement between frames {np.abs(np.diff(own)).mean():.4f} "
        f"({np.abs(np.diff(right)).mean():.4f})"
    )
    return lines


def silence_table(net: AudioNet, avatar: Path, backgrounds: UInt8) -> list[str]:
    session = cpu_session(avatar / "lipsync.onnx")
    lines = ["| no speech | openness mean | p99 | picture differs from the idle loop, mean of 255 | worst frame |"]
    lines.append("|---|---|---|---|---|")
    for name, pcm in silences().items():
        values = openness(heard(net, pcm))
        differences = []
        for n, window in enumerate(windows_of(pcm, FPS)):
            crop = backgrounds[n % len(backgrounds)][None]
            (patch,) = session.run(["patch"], {"crop": crop, "audio": window[None]})
            differences.append(np.abs(patch.astype(int) - crop).mean())
        lines.append(
            f"| {name} | {values.mean():.4f} | {np.percentile(values, 99):.4f} | {np.mean(differences):.3f} "
            f"| {np.max(differences):.2f} |"
        )
    return lines


def paint(net: PatchNet, crop: UInt8, mouth: Float32) -> UInt8:
    """One patch from mouth values minus rest."""
    with torch.inference_mode():
        picture = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255.0
        out = net(picture, torch.from_numpy(mouth.astype(np.float32))[None])[0]
    return np.asarray((out.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).numpy(), np.uint8)


def painting_line(net: PatchNet, pairs: MouthPairs) -> str:
    x0, y0, x1, y1 = MOUTH_BOX
    held = np.nonzero(pairs.held_out)[0]
    shown = pairs.backgrounds[pairs.frames[held], y0:y1, x0:x1].astype(np.float32)
    error = np.mean((shown - pairs.targets[held, y0:y1, x0:x1]) ** 2)
    return (
        f"patch, {len(held)} held-out mouths of {len(pairs.targets)}: {held_out_psnr(net, pairs):.2f} dB PSNR in the "
        f"mouth box (the background unchanged: {10 * np.log10(255**2 / error):.2f} dB)"
    )


def contact_sheet(net: PatchNet, pairs: MouthPairs, columns: int = 8) -> UInt8:
    """Each viseme painted on two frames, then held-out mouths: rendered above, painted below. RGB."""
    rows = []
    for frame in (0, 60):
        cells = []
        for name in visemes.VISEMES:
            mouth = (visemes.mouth_vector(name) - REST).astype(np.float32)
            cell = paint(net, pairs.backgrounds[frame], mouth)
            cv2.putText(cell, name, (4, 140), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1, cv2.LINE_AA)
            cells.append(cell)
        rows += [np.hstack(cells[k : k + columns]) for k in range(0, len(cells), columns)]
    held = np.nonzero(pairs.held_out)[0][: 2 * columns]
    for k in range(0, len(held) - columns + 1, columns):
        some = held[k : k + columns]
        rows.append(np.hstack([pairs.targets[i] for i in some]))
        rows.append(np.hstack([paint(net, pairs.backgrounds[pairs.frames[i]], pairs.mouths[i]) for i in some]))
    return np.vstack(rows).astype(np.uint8)


def filmstrip(avatar: Path, backgrounds: UInt8, utterance: Utterance, columns: int = 8) -> UInt8:
    """Successive frames of held-out speech through the finished graph. RGB."""
    session = cpu_session(avatar / "lipsync.onnx")
    cells = []
    for n, window in enumerate(windows_of(utterance.pcm, FPS)[:_FILM_FRAMES]):
        (patch,) = session.run(["patch"], {"crop": backgrounds[n % len(backgrounds)][None], "audio": window[None]})
        at = n / FPS
        phone = next((name for name, start, end in utterance.phones if start <= at < end), "pau")
        cell = patch[0].copy()
        cv2.putText(cell, phone, (4, 140), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1, cv2.LINE_AA)
        cells.append(cell)
    rows = [np.hstack(cells[k : k + columns]) for k in range(0, len(cells) - columns + 1, columns)]
    return np.vstack(rows).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("training/work"))
    parser.add_argument("--mouths", type=Path, default=Path("training/work/mouths"))
    parser.add_argument("--loop", type=Path, default=Path("training/work/idle"))
    parser.add_argument("--avatar", type=Path, default=Path("models/default"))
    parser.add_argument("--out", type=Path, default=Path("training/work"))
    parser.add_argument("--recordings", type=Path, help="folder of real speech: 16 kHz wav files, each with a .txt")
    options = parser.parse_args()
    torch.set_num_threads(1)
    hear, painter = load_nets(options.work)
    pairs = load_pairs(options.mouths, options.loop, options.avatar)
    backgrounds = background_crops(options.avatar)
    recordings = []
    if options.recordings:
        from training.alignment import align

        recordings = [align(path) for path in sorted(options.recordings.glob("*.wav"))]
    print("\n".join(hearing_table(hear, recordings)), end="\n\n")
    print("\n".join(silence_table(hear, options.avatar, backgrounds)), end="\n\n")
    print(painting_line(painter, pairs))
    sheets = {
        "contact_sheet.png": contact_sheet(painter, pairs),
        "filmstrip.png": filmstrip(options.avatar, backgrounds, held_out_utterances()[2]),
    }
    for name, sheet in sheets.items():
        cv2.imwrite(str(options.out / name), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
