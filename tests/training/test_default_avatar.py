"""The shipped avatar: its files agree with each other, and its net does what it was trained for."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import yaml

from pipeline.features import SAMPLE_RATE, windows_of
from training.build_avatar import DEFAULT_AVATAR, check
from training.mouth_pairs import background_crops

ROOT = Path(__file__).resolve().parents[2]
AVATAR = ROOT / "models" / "default"
FPS = 30

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def backgrounds() -> UInt8:
    return background_crops(AVATAR)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(AVATAR / "lipsync.onnx"), options, providers=["CPUExecutionProvider"])


def patches(session: onnxruntime.InferenceSession, backgrounds: UInt8, windows: Float32) -> UInt8:
    """The patch of each window on one and the same background frame."""
    crop = backgrounds[:1]
    return np.concatenate([session.run(["patch"], {"crop": crop, "audio": w[None]})[0] for w in windows])


def change(patch: UInt8, crop: UInt8) -> Float32:
    """Mean difference from the background in the mouth's part of the box, 0..255, one per patch."""
    mouth = np.abs(patch[:, 40:106, 40:136].astype(np.float32) - crop[None, 40:106, 40:136])
    return np.asarray(mouth.mean(axis=(1, 2, 3)), np.float32)


def test_the_folder_is_whole_and_its_yaml_is_what_the_script_writes() -> None:
    assert check(AVATAR) == 240
    assert yaml.safe_load((AVATAR / "avatar.yaml").read_text()) == DEFAULT_AVATAR


def test_the_graph_has_the_interface_that_a_logmel_patch_model_has(
    session: onnxruntime.InferenceSession,
) -> None:
    inputs = {i.name: (i.type, i.shape[1:]) for i in session.get_inputs()}
    assert inputs == {
        "crop": ("tensor(uint8)", [144, 176, 3]),
        "audio": ("tensor(float)", [32, 80]),
    }
    (output,) = session.get_outputs()
    assert (output.name, output.type, output.shape[1:]) == ("patch", "tensor(uint8)", [144, 176, 3])
    assert onnx.load(str(AVATAR / "lipsync.onnx")).opset_import[0].version == 17


def test_frames_of_a_batch_do_not_touch_each_other(session: onnxruntime.InferenceSession, backgrounds: UInt8) -> None:
    rng = np.random.default_rng(0)
    crop, audio = backgrounds[[0, 80, 160]], rng.normal(-1, 1, (3, 32, 80)).astype(np.float32)
    (together,) = session.run(["patch"], {"crop": crop, "audio": audio})
    for n in range(3):
        (alone,) = session.run(["patch"], {"crop": crop[n : n + 1], "audio": audio[n : n + 1]})
        assert np.abs(together[n].astype(int) - alone[0]).max() <= 1


def test_the_border_of_a_patch_is_the_background(session: onnxruntime.InferenceSession, backgrounds: UInt8) -> None:
    audio = np.random.default_rng(1).normal(0, 1, (1, 32, 80)).astype(np.float32)
    (patch,) = session.run(["patch"], {"crop": backgrounds[:1], "audio": audio})
    inside = np.zeros((144, 176), bool)
    inside[1:-1, 1:-1] = True
    np.testing.assert_array_equal(patch[0][~inside], backgrounds[0][~inside])


def test_silence_leaves_the_face_alone(session: onnxruntime.InferenceSession, backgrounds: UInt8) -> None:
    rng = np.random.default_rng(2)
    for level in (0.0, 0.0003, 0.003):
        pcm = (level * rng.normal(size=SAMPLE_RATE)).astype(np.float32)
        moved = change(patches(session, backgrounds, windows_of(pcm, FPS)), backgrounds[0])
        assert moved.mean() < 1.0, level
        assert moved.max() < 3.0, level


def test_speech_that_was_never_trained_on_moves_the_mouth(
    session: onnxruntime.InferenceSession, backgrounds: UInt8
) -> None:
    with wave.open(str(ROOT / "tests" / "data" / "speech-heldout.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (SAMPLE_RATE, 1)
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 32768
    windows = windows_of(pcm, FPS)
    moved = change(patches(session, backgrounds, windows), backgrounds[0])
    frame = SAMPLE_RATE // FPS
    loud = np.array(
        [np.sqrt(np.mean(pcm[max(0, n * frame - frame) : n * frame + frame + 1] ** 2)) for n in range(len(windows))]
    )
    envelope = np.log(loud + 1e-3)
    assert np.corrcoef(moved, envelope)[0, 1] > 0.5
    speaking = loud > 0.02
    assert moved[speaking].mean() > 3.0
