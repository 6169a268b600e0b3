"""A small but whole avatar folder, made in a moment: real video, real ONNX graph, predictable patches."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper

SIZE = 64
BOX = 16
FRAMES = 12
FPS = 30


def make_model(path: Path, *, box: int = BOX, mels: int = 80) -> None:
    """patch = 255 * clip(mean(audio) + 0.5, 0, 1) everywhere: the louder the window, the brighter the patch."""
    crop = helper.make_tensor_value_info("crop", TensorProto.UINT8, ["batch", box, box, 3])
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 32, mels])
    patch = helper.make_tensor_value_info("patch", TensorProto.UINT8, ["batch", box, box, 3])
    constants = {
        "axes": np.array([1, 2], np.int64),
        "shape": np.array([-1, 1, 1, 1], np.int64),
        "half": np.array(0.5, np.float32),
        "zero": np.array(0.0, np.float32),
        "full": np.array(255.0, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["audio", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["level"]),
        helper.make_node("Add", ["level", "half"], ["raised"]),
        helper.make_node("Mul", ["raised", "full"], ["scaled"]),
        helper.make_node("Cast", ["crop"], ["crop_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["crop_float", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "scaled"], ["picture"]),
        helper.make_node("Clip", ["picture", "zero", "full"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["patch"], to=TensorProto.UINT8),
    ]
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [crop, audio], [patch], initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def make_avatar(folder: Path, *, order: str = "circular") -> Path:
    """Writes the folder and returns it. Background n is a flat grey of luma about 50 + 10 n."""
    folder.mkdir(parents=True)
    with av.open(str(folder / "idle.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "4", "bf": "0"}
        for n in range(FRAMES):
            picture = np.full((SIZE * 3 // 2, SIZE), 128, np.uint8)
            picture[:SIZE] = 50 + 10 * n
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        container.mux(stream.encode(None))
    boxes = [[20, 30 + 2 * (n % 2), 20 + BOX, 30 + 2 * (n % 2) + BOX] for n in range(FRAMES)]
    (folder / "crops.json").write_text(json.dumps({"size": [SIZE, SIZE], "boxes": boxes}))
    cv2.imwrite(str(folder / "poster.jpg"), np.full((SIZE, SIZE, 3), 90, np.uint8))
    make_model(folder / "lipsync.onnx")
    manifest = {
        "format": 1,
        "title": "Tiny",
        "description": "A test card.",
        "licence": "Apache-2.0",
        "credit": "nobody",
        "background": {"video": "idle.mp4", "order": order},
        "model": {"family": "logmel_patch", "file": "lipsync.onnx"},
        "feather_px": 2,
    }
    (folder / "avatar.yaml").write_text(yaml.safe_dump(manifest))
    return folder
