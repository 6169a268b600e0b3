"""Who may import whom: imports go down only, and never round."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("webrtc_server", "signaling", "pipeline")

# What a package must do without, beside what it does not install.
FORBIDDEN = {
    # HTTP in and out: knows neither media nor the server around it.
    "signaling": {"pipeline", "webrtc_server", "aiortc", "aioice", "av", "cv2", "numpy", "onnxruntime"},
    # Media and inference: no network, no WebRTC, no wall clock; `now` is an argument.
    "pipeline": {"signaling", "webrtc_server", "aiortc", "aioice", "aiohttp", "socket", "time", "datetime"},
    "webrtc_server": {"cv2", "onnxruntime"},
}
NEVER = {"tests", "training", "bench", "torch", "scipy", "onnx", "pytest", "playwright"}
# Modules reached from one place only.
ONLY_FROM = {
    "signaling.routes": {"webrtc_server.app"},
    "webrtc_server.app": {"webrtc_server.__main__"},
    "onnxruntime": {"pipeline.onnx"},
}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """Everything a file imports, at its top or inside a function, but for types only."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            skipped.update(inner for statement in node.body for inner in ast.walk(statement))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


IMPORTS = {name: set(imported(path)) for name, path in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    package = module.partition(".")[0]
    tops = {name.partition(".")[0] for name in IMPORTS[module]}
    assert tops & (FORBIDDEN[package] | NEVER) == set()
    for target, places in ONLY_FROM.items():
        if target in IMPORTS[module]:
            assert module in places, f"{target} is for {', '.join(places)}"


def test_no_import_goes_round():
    graph = {name: {target for target in targets if target in MODULES} for name, targets in IMPORTS.items()}
    list(TopologicalSorter(graph).static_order())


def test_importing_a_package_imports_nothing_else():
    assert {package: IMPORTS[package] for package in PACKAGES} == {package: set() for package in PACKAGES}


def test_files_are_named_by_what_is_in_them():
    shapeless = {"utils", "util", "helpers", "helper", "base", "common", "misc"}
    assert [name for name in MODULES if name.rpartition(".")[2] in shapeless] == []


def test_private_names_of_aiortc_are_reached_in_one_file():
    users = [name for name, path in MODULES.items() if "_RTC" in path.read_text()]
    assert users == ["webrtc_server.aiortc_hooks"]
