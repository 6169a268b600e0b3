from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.avatar import Avatar, load_avatar
from tests.tiny_avatar import make_avatar


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole avatar folder. Shared: read it, never write to it."""
    return make_avatar(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Avatar:
    return load_avatar(tiny_folder, "cpu")


@pytest.fixture
def own_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny avatar for a test to break."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))
