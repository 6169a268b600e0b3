from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import avatar_store
from pipeline.avatar import Avatar, AvatarError, load_avatar
from pipeline.avatar_store import AvatarNotFound, AvatarStore


@pytest.fixture
def models_root(tiny_folder: Path, tmp_path: Path) -> Path:
    """Three avatars of the same size: ada, bob and eve."""
    root = tmp_path / "models"
    for name in ("ada", "bob", "eve"):
        shutil.copytree(tiny_folder, root / name)
    return root


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


Make = Callable[..., AvatarStore]


@pytest.fixture
def make(models_root: Path, executor: ThreadPoolExecutor) -> Make:
    def make(cache_bytes: int = 1 << 30) -> AvatarStore:
        return AvatarStore(models_root, "cpu", cache_bytes, executor)

    return make


class Loads:
    """Stands in for load_avatar: counts, and holds each load back while the gate is closed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.started = asyncio.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._loop = asyncio.get_running_loop()

    def __call__(self, folder: Path, device: str) -> Avatar:
        self.names.append(folder.name)
        self._loop.call_soon_threadsafe(self.started.set)
        assert self.gate.wait(10)
        return load_avatar(folder, "cpu")


@pytest.fixture
async def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    loads = Loads()
    monkeypatch.setattr(avatar_store, "load_avatar", loads)
    return loads


async def test_an_avatar_is_loaded_once_and_kept(make: Make, loads: Loads) -> None:
    store = make()
    first = await store.get("ada")
    assert first.name == "ada"
    assert await store.get("ada") is first
    assert loads.names == ["ada"]


async def test_many_callers_share_one_load(make: Make, loads: Loads) -> None:
    store = make()
    avatars = await asyncio.gather(*(store.get("ada") for _ in range(20)))
    assert len({id(avatar) for avatar in avatars}) == 1
    assert loads.names == ["ada"]


async def test_the_event_loop_goes_on_while_loading(make: Make, loads: Loads) -> None:
    store = make()
    loads.gate.clear()
    waiting = asyncio.create_task(store.get("ada"))
    await loads.started.wait()
    assert not waiting.done()
    loads.gate.set()
    assert (await waiting).name == "ada"


async def test_a_caller_who_goes_away_does_not_take_the_load_from_the_others(make: Make, loads: Loads) -> None:
    store = make()
    loads.gate.clear()
    leaving, staying = (asyncio.create_task(store.get("ada")) for _ in range(2))
    await loads.started.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    loads.gate.set()
    assert (await staying).name == "ada"
    assert loads.names == ["ada"]


async def test_a_load_whose_only_caller_went_away_still_counts(make: Make, loads: Loads) -> None:
    store = make()
    loads.gate.clear()
    leaving = asyncio.create_task(store.get("ada"))
    await loads.started.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    loads.gate.set()
    await store.get("ada")
    assert loads.names == ["ada"]


async def test_a_failed_load_is_told_to_everyone_and_tried_again(make: Make, models_root: Path, loads: Loads) -> None:
    store = make()
    model = models_root / "ada" / "lipsync.onnx"
    whole = model.read_bytes()
    model.write_bytes(b"broken")
    failures = await asyncio.gather(*(store.get("ada") for _ in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [AvatarError] * 3
    model.write_bytes(whole)
    assert (await store.get("ada")).name == "ada"
    assert loads.names == ["ada", "ada"]


async def test_the_one_used_longest_ago_leaves(make: Make, loads: Loads) -> None:
    size = (await make().get("ada")).nbytes
    loads.names.clear()
    store = make(cache_bytes=2 * size)
    for name in ("ada", "bob", "ada", "eve"):
        await store.get(name)
    assert loads.names == ["ada", "bob", "eve"]
    await store.get("ada")
    assert loads.names == ["ada", "bob", "eve"]
    await store.get("bob")
    assert loads.names == ["ada", "bob", "eve", "bob"]


async def test_one_larger_than_the_bound_is_kept_alone(make: Make, loads: Loads) -> None:
    store = make(cache_bytes=100)
    for name in ("ada", "ada", "bob", "bob", "ada"):
        await store.get(name)
    assert loads.names == ["ada", "bob", "ada"]


async def test_without_a_cache_none_is_kept(make: Make, loads: Loads) -> None:
    store = make(cache_bytes=0)
    for name in ("ada", "ada", "bob"):
        await store.get(name)
    assert loads.names == ["ada", "ada", "bob"]


async def test_closing_ends_the_loads_in_hand(make: Make, loads: Loads) -> None:
    store = make()
    loads.gate.clear()
    waiting = asyncio.create_task(store.get("ada"))
    await loads.started.wait()
    await store.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    loads.gate.set()
    await store.aclose()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../ada",
        "ada/../bob",
        "ada/",
        "/etc",
        "C:\\ada",
        ".hidden",
        "-rf",
        "ada\n",
        "ada\0",
        "ädä",
        "nobody",
        "a" * 300,
        "a" * 5000,
    ],
)
async def test_names_that_are_no_avatar(make: Make, models_root: Path, name: str) -> None:
    shutil.copytree(models_root / "ada", models_root / ".hidden")
    (models_root.parent / "avatar.yaml").write_text("outside")
    store = make()
    with pytest.raises(AvatarNotFound):
        store.folder(name)
    with pytest.raises(AvatarNotFound):
        store.poster(name)
    with pytest.raises(AvatarNotFound):
        await store.get(name)


def test_the_poster_is_the_one_that_the_manifest_names(make: Make, models_root: Path) -> None:
    assert make().poster("ada") == models_root / "ada" / "poster.jpg"


def test_summaries_name_every_avatar(make: Make) -> None:
    summaries = make().summaries()
    assert list(summaries) == ["ada", "bob", "eve"]
    assert summaries["ada"].manifest.title == "Tiny"


def test_summaries_are_those_that_can_be_asked_for(make: Make, models_root: Path) -> None:
    shutil.copytree(models_root / "ada", models_root / ".trash")
    shutil.copytree(models_root / "ada", models_root / "with space")
    (models_root / "notes").mkdir()
    store = make()
    assert list(store.summaries()) == ["ada", "bob", "eve"]
    for name in store.summaries():
        store.folder(name)


def test_a_broken_avatar_is_left_out_and_logged_once_per_change(
    make: Make, models_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make()
    manifest = models_root / "bob" / "avatar.yaml"
    whole = manifest.read_text()
    manifest.write_text("title: [")
    for _ in range(3):
        assert list(store.summaries()) == ["ada", "eve"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(manifest) in caplog.text
    manifest.write_text(whole)
    later = manifest.stat().st_mtime_ns + 1_000_000_000
    os.utime(manifest, ns=(later, later))
    assert list(store.summaries()) == ["ada", "bob", "eve"]
    assert len(caplog.records) == 1


def test_a_removed_avatar_is_not_listed_any_more(make: Make, models_root: Path) -> None:
    store = make()
    assert "bob" in store.summaries()
    shutil.rmtree(models_root / "bob")
    assert list(store.summaries()) == ["ada", "eve"]


def test_a_models_root_that_is_not_there_has_no_avatars(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    assert AvatarStore(tmp_path / "nowhere", "cpu", 0, executor).summaries() == {}
