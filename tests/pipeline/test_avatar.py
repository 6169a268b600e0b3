from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnx
import pytest
import yaml

from pipeline.avatar import Avatar, AvatarError, load_avatar, read_manifest, soft_edge, summarise
from tests.tiny_avatar import BOX, FPS, FRAMES, SIZE, make_avatar, make_model


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "avatar.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def edit_crops(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "crops.json"
    crops = json.loads(path.read_text())
    change(crops)
    path.write_text(json.dumps(crops))


def make_video(path: Path, width: int, height: int, frames: int = FRAMES) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for _ in range(frames):
            picture = np.full((height, width, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def test_a_whole_folder(tiny: Avatar) -> None:
    assert (tiny.name, tiny.fps, tiny.width, tiny.height) == ("tiny", FPS, SIZE, SIZE)
    assert tiny.manifest.title == "Tiny"
    assert tiny.backgrounds.shape == (FRAMES, SIZE * 3 // 2, SIZE)
    assert tiny.crops.shape == (FRAMES, BOX, BOX, 3)
    assert tiny.boxes[:2] == ((20, 30, 36, 46), (20, 32, 36, 48))
    assert tiny.nbytes == tiny.backgrounds.nbytes + tiny.crops.nbytes
    assert [edge.shape for edge in tiny.edge] == [(BOX, BOX), (BOX // 2, BOX // 2)]


def test_backgrounds_are_the_videos_frames_in_order(tiny: Avatar) -> None:
    luma = tiny.backgrounds[:, :SIZE].mean(axis=(1, 2))
    np.testing.assert_allclose(luma, 50 + 10 * np.arange(FRAMES), atol=1.0)
    np.testing.assert_allclose(tiny.backgrounds[:, SIZE:], 128, atol=1)


def test_crops_are_the_backgrounds_in_rgb_inside_the_box(tiny: Avatar) -> None:
    for index, (x0, y0, x1, y1) in enumerate(tiny.boxes):
        rgb = cv2.cvtColor(tiny.backgrounds[index], cv2.COLOR_YUV2RGB_I420)
        np.testing.assert_array_equal(tiny.crops[index], rgb[y0:y1, x0:x1])
    # Limited range: luma 50 is a grey of (50 - 16) * 255 / 219.
    np.testing.assert_allclose(tiny.crops[0], 40, atol=3)


def test_nothing_shared_can_be_written(tiny: Avatar) -> None:
    for array in (tiny.backgrounds, tiny.crops, *tiny.edge, tiny.backgrounds[0], tiny.crops[0][2:4]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    window = np.zeros((32, 80), np.float32)
    assert not tiny.input_for(3, window).crop.flags.writeable
    with pytest.raises(AttributeError):
        tiny.fps = 25  # type: ignore[misc]


def test_circular_order_goes_round(tiny: Avatar) -> None:
    assert [tiny.background_index(n / FPS) for n in range(2 * FRAMES)] == [*range(FRAMES)] * 2


def test_pingpong_order_goes_back_and_forth(tmp_path: Path) -> None:
    avatar = load_avatar(make_avatar(tmp_path / "tiny", order="pingpong"), "cpu")
    indices = [avatar.background_index(n / FPS) for n in range(3 * FRAMES)]
    assert indices[: 2 * FRAMES - 1] == [*range(FRAMES), *range(FRAMES - 2, -1, -1)]
    assert np.abs(np.diff(indices)).max() == 1


def test_sessions_at_other_frame_rates_show_the_same_moment(tiny: Avatar) -> None:
    for fps in (15, 25, 60):
        for n in range(fps):
            assert tiny.background_index(n / fps) == round(n * FPS / fps) % FRAMES


def test_a_model_of_another_size_than_the_box_gets_scaled_crops(own_folder: Path) -> None:
    make_model(own_folder / "lipsync.onnx", box=24)
    assert load_avatar(own_folder, "cpu").crops.shape == (FRAMES, 24, 24, 3)


def test_one_background_is_enough(own_folder: Path) -> None:
    make_video(own_folder / "idle.mp4", SIZE, SIZE, frames=1)
    edit_crops(own_folder, lambda crops: crops.update(boxes=crops["boxes"][:1]))
    for order in ("circular", "pingpong"):
        edit_manifest(own_folder, background={"video": "idle.mp4", "order": order})
        assert load_avatar(own_folder, "cpu").background_index(12.3) == 0


def test_the_summary_needs_no_model(own_folder: Path) -> None:
    (own_folder / "lipsync.onnx").unlink()
    summary = summarise(own_folder)
    assert (summary.width, summary.height, summary.fps) == (SIZE, SIZE, FPS)
    assert summary.manifest.title == "Tiny"


# Broken folders. Each way to break one, the file that the message must name, and a word of the reason.


def no_manifest(folder: Path) -> None:
    (folder / "avatar.yaml").unlink()


def manifest_is_a_folder(folder: Path) -> None:
    (folder / "avatar.yaml").unlink()
    (folder / "avatar.yaml").mkdir()


def manifest_is_not_text(folder: Path) -> None:
    (folder / "avatar.yaml").write_bytes(b"\xff\xfe\x00\x01")


def manifest_is_not_yaml(folder: Path) -> None:
    (folder / "avatar.yaml").write_text("title: [unclosed")


def manifest_is_empty(folder: Path) -> None:
    (folder / "avatar.yaml").write_text("")


def manifest_is_a_list(folder: Path) -> None:
    (folder / "avatar.yaml").write_text("- format: 1\n")


def manifest_of_the_future(folder: Path) -> None:
    edit_manifest(folder, format=2)


def manifest_has_no_title(folder: Path) -> None:
    path = folder / "avatar.yaml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("title")))


def unknown_key(folder: Path) -> None:
    edit_manifest(folder, titel="Tiny")


def unknown_key_in_a_section(folder: Path) -> None:
    edit_manifest(folder, background={"video": "idle.mp4", "fps": 30})


def unknown_order(folder: Path) -> None:
    edit_manifest(folder, background={"video": "idle.mp4", "order": "random"})


def feather_out_of_range(folder: Path) -> None:
    edit_manifest(folder, feather_px=-1)


def unknown_family(folder: Path) -> None:
    edit_manifest(folder, model={"family": "wav3lip", "file": "lipsync.onnx"})


def no_model(folder: Path) -> None:
    (folder / "lipsync.onnx").unlink()


def no_video(folder: Path) -> None:
    (folder / "idle.mp4").unlink()


def no_crops(folder: Path) -> None:
    (folder / "crops.json").unlink()


def no_poster(folder: Path) -> None:
    (folder / "poster.jpg").unlink()


def model_is_garbage(folder: Path) -> None:
    (folder / "lipsync.onnx").write_bytes(b"not a model" * 100)


def model_is_truncated(folder: Path) -> None:
    path = folder / "lipsync.onnx"
    path.write_bytes(path.read_bytes()[:-200])


def model_has_other_windows(folder: Path) -> None:
    make_model(folder / "lipsync.onnx", mels=64)


def edit_model(folder: Path, change: Callable[[onnx.GraphProto], None]) -> None:
    path = folder / "lipsync.onnx"
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)


def model_has_other_names(folder: Path) -> None:
    def rename(graph: onnx.GraphProto) -> None:
        graph.input[0].name = "face"
        for node in graph.node:
            node.input[:] = ["face" if name == "crop" else name for name in node.input]

    edit_model(folder, rename)


def model_has_dynamic_sides(folder: Path) -> None:
    def loosen(graph: onnx.GraphProto) -> None:
        for value in (graph.input[0], graph.output[0]):
            value.type.tensor_type.shape.dim[1].dim_param = "height"

    edit_model(folder, loosen)


def model_takes_one_at_a_time(folder: Path) -> None:
    def fix(graph: onnx.GraphProto) -> None:
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    edit_model(folder, fix)


def model_takes_float_pictures(folder: Path) -> None:
    def retype(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT

    edit_model(folder, retype)


def model_gives_float_patches(folder: Path) -> None:
    def retype(graph: onnx.GraphProto) -> None:
        graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        graph.node[-1].attribute[0].i = onnx.TensorProto.FLOAT

    edit_model(folder, retype)


def video_is_garbage(folder: Path) -> None:
    (folder / "idle.mp4").write_bytes(b"not a video" * 100)


def video_is_truncated(folder: Path) -> None:
    path = folder / "idle.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def video_lacks_its_last_bytes(folder: Path) -> None:
    path = folder / "idle.mp4"
    path.write_bytes(path.read_bytes()[:-100])


def video_is_sound(folder: Path) -> None:
    with av.open(str(folder / "idle.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def video_lacks_a_frame(folder: Path) -> None:
    make_video(folder / "idle.mp4", SIZE, SIZE, FRAMES - 1)


def video_is_of_another_size(folder: Path) -> None:
    make_video(folder / "idle.mp4", SIZE + 2, SIZE)


def video_is_of_odd_width(folder: Path) -> None:
    make_video(folder / "idle.mp4", SIZE - 1, SIZE)


def video_is_of_odd_height(folder: Path) -> None:
    make_video(folder / "idle.mp4", SIZE, SIZE - 1)


def crops_are_not_json(folder: Path) -> None:
    (folder / "crops.json").write_text("{")


def crops_have_an_unknown_key(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops.update(scale=2))


def box_of_three_numbers(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"][3].pop())


def box_outside_the_picture(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"].__setitem__(5, [50, 30, 66, 46]))


def box_left_of_the_picture(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"].__setitem__(5, [-2, 30, 14, 46]))


def box_upside_down(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"].__setitem__(5, [20, 46, 36, 30]))


def box_with_an_odd_edge(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"].__setitem__(5, [21, 30, 37, 46]))


def box_of_another_size(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"].__setitem__(5, [20, 30, 38, 46]))


def one_box_too_many(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"].append([20, 30, 36, 46]))


def no_boxes(folder: Path) -> None:
    edit_crops(folder, lambda crops: crops["boxes"].clear())


BROKEN: list[tuple[Callable[[Path], None], str, str]] = [
    (no_manifest, "avatar.yaml", "not found"),
    (manifest_is_a_folder, "avatar.yaml", "cannot be read"),
    (manifest_is_not_text, "avatar.yaml", "not YAML"),
    (manifest_is_not_yaml, "avatar.yaml", "not YAML"),
    (manifest_is_empty, "avatar.yaml", "the file"),
    (manifest_is_a_list, "avatar.yaml", "the file"),
    (manifest_of_the_future, "avatar.yaml", "format"),
    (manifest_has_no_title, "avatar.yaml", "title"),
    (unknown_key, "avatar.yaml", "titel"),
    (unknown_key_in_a_section, "avatar.yaml", "background.fps"),
    (unknown_order, "avatar.yaml", "background.order"),
    (feather_out_of_range, "avatar.yaml", "feather_px"),
    (unknown_family, "avatar.yaml", "wav3lip"),
    (no_model, "lipsync.onnx", "not found"),
    (no_video, "idle.mp4", "not found"),
    (no_crops, "crops.json", "not found"),
    (no_poster, "poster.jpg", "not found"),
    (model_is_garbage, "lipsync.onnx", "not a model"),
    (model_is_truncated, "lipsync.onnx", "not a model"),
    (model_has_other_windows, "lipsync.onnx", "'audio'"),
    (model_has_other_names, "lipsync.onnx", "'crop'"),
    (model_has_dynamic_sides, "lipsync.onnx", "only the batch may be dynamic"),
    (model_takes_one_at_a_time, "lipsync.onnx", "batch"),
    (model_takes_float_pictures, "lipsync.onnx", "cannot be run"),
    (model_gives_float_patches, "lipsync.onnx", "uint8"),
    (video_is_garbage, "idle.mp4", "cannot be decoded"),
    (video_is_truncated, "idle.mp4", "cannot be decoded"),
    (video_lacks_its_last_bytes, "idle.mp4", ""),
    (video_is_sound, "idle.mp4", "cannot be decoded"),
    (video_lacks_a_frame, "idle.mp4", "11 frames"),
    (video_is_of_another_size, "idle.mp4", "66x64"),
    (video_is_of_odd_width, "idle.mp4", "63x64"),
    (video_is_of_odd_height, "idle.mp4", "64x63"),
    (crops_are_not_json, "crops.json", "cannot be read"),
    (crops_have_an_unknown_key, "crops.json", "scale"),
    (box_of_three_numbers, "crops.json", "boxes"),
    (box_outside_the_picture, "crops.json", "box 5"),
    (box_left_of_the_picture, "crops.json", "box 5"),
    (box_upside_down, "crops.json", "box 5"),
    (box_with_an_odd_edge, "crops.json", "odd"),
    (box_of_another_size, "crops.json", "same width"),
    (one_box_too_many, "crops.json", "13 boxes"),
    (no_boxes, "crops.json", "box"),
]


@pytest.mark.parametrize(("breaking", "file", "reason"), BROKEN, ids=[broken[0].__name__ for broken in BROKEN])
def test_a_broken_folder_is_refused(
    own_folder: Path, breaking: Callable[[Path], None], file: str, reason: str
) -> None:
    breaking(own_folder)
    with pytest.raises(AvatarError) as refusal:
        load_avatar(own_folder, "cpu")
    assert str(own_folder / file) in str(refusal.value)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    "breaking", [no_manifest, manifest_is_a_folder, manifest_is_not_text, video_is_garbage, video_is_sound, no_video]
)
def test_a_summary_of_a_broken_folder_is_refused(own_folder: Path, breaking: Callable[[Path], None]) -> None:
    breaking(own_folder)
    with pytest.raises(AvatarError, match=str(own_folder)):
        summarise(own_folder)


def test_a_manifest_says_what_is_left_out(own_folder: Path) -> None:
    (own_folder / "avatar.yaml").write_text(
        "format: 1\ntitle: Bare\nbackground: {video: idle.mp4}\nmodel: {family: logmel_patch, file: lipsync.onnx}\n"
    )
    manifest = read_manifest(own_folder)
    assert (manifest.poster, manifest.crops, manifest.background.order) == ("poster.jpg", "crops.json", "circular")
    assert load_avatar(own_folder, "cpu").manifest.feather_px == 10


def test_the_soft_edge_rises_from_the_border_to_the_full_patch() -> None:
    edge = soft_edge(40, 30, 8)
    assert edge.shape == (30, 40)
    assert edge.dtype == np.uint16
    np.testing.assert_array_equal(edge, edge[::-1, ::-1])
    assert edge[0].max() < 8
    assert np.all(edge[8:-8, 8:-8] == 256)
    assert np.all(np.diff(edge[15, :20].astype(int)) >= 0)


def test_no_feather_is_no_edge() -> None:
    assert np.all(soft_edge(16, 16, 0) == 256)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "a/../../b.jpg"])
def test_files_outside_the_folder_are_refused(own_folder: Path, name: str) -> None:
    manifest = yaml.safe_load((own_folder / "avatar.yaml").read_text())
    manifest["poster"] = name
    (own_folder / "avatar.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.raises(AvatarError, match=r"avatar\.yaml: poster: .*inside the avatar's folder"):
        read_manifest(own_folder)
