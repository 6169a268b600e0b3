"""The avatars of a models_root: which there are, and a bounded set of loaded ones."""

from __future__ import annotations

import asyncio
import logging
import re
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final

import cachetools

from pipeline.avatar import MANIFEST, Avatar, AvatarError, AvatarSummary, load_avatar, read_manifest, summarise
from pipeline.onnx import Device

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class AvatarNotFound(AvatarError):
    """No folder of that name under models_root."""


class AvatarStore:
    """Loads avatars off the event loop, once however many ask, and keeps the latest used ones within a bound.

    A session keeps its own avatar alive; the bound is on what is kept for the next one.
    """

    def __init__(self, models_root: Path, device: Device, cache_bytes: int, executor: Executor) -> None:
        self._root = models_root
        self._device = device
        self._executor = executor
        self._loaded: cachetools.LRUCache[str, Avatar] = cachetools.LRUCache(
            cache_bytes, getsizeof=lambda avatar: min(avatar.nbytes, cache_bytes)
        )
        self._summaries: dict[str, tuple[int, AvatarSummary | None]] = {}
        self._loading: dict[str, asyncio.Task[Avatar]] = {}

    def summaries(self) -> dict[str, AvatarSummary]:
        """Every usable avatar by name. A broken folder is left out and logged by name, once per change."""
        found: dict[str, AvatarSummary] = {}
        for path in sorted(self._root.glob(f"*/{MANIFEST}")):
            if not _NAME.fullmatch(path.parent.name):
                continue
            changed = max(file.stat().st_mtime_ns for file in path.parent.iterdir())
            known = self._summaries.get(path.parent.name)
            if known is None or known[0] != changed:
                known = (changed, self._summarise(path.parent))
                self._summaries[path.parent.name] = known
            if known[1] is not None:
                found[path.parent.name] = known[1]
        return found

    def _summarise(self, folder: Path) -> AvatarSummary | None:
        try:
            return summarise(folder)
        except AvatarError as error:
            logger.warning("avatar left out: %s", error)
            return None

    def folder(self, name: str) -> Path:
        """Raises AvatarNotFound. Names cannot lead out of models_root."""
        folder = self._root / name
        if not _NAME.fullmatch(name) or not (folder / MANIFEST).is_file():
            raise AvatarNotFound(f"there is no avatar named '{name}' under {self._root}")
        return folder

    def poster(self, name: str) -> Path:
        """The picture shown before a session. Raises AvatarNotFound, AvatarError."""
        folder = self.folder(name)
        return folder / read_manifest(folder).poster

    async def get(self, name: str) -> Avatar:
        """Raises AvatarNotFound, AvatarError, DeviceUnavailable."""
        if name in self._loaded:
            return self._loaded[name]
        task = self._loading.get(name)
        if task is None:
            folder = self.folder(name)
            task = asyncio.create_task(self._load(name, folder), name=f"load avatar {name}")
            self._loading[name] = task
        # A caller who goes away must not take the load from the others.
        return await asyncio.shield(task)

    async def _load(self, name: str, folder: Path) -> Avatar:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            avatar = await loop.run_in_executor(self._executor, partial(load_avatar, folder, self._device))
        finally:
            del self._loading[name]
        if self._loaded.maxsize:
            self._loaded[name] = avatar
        logger.info(
            "avatar %s loaded in %.1f s: %d frames %dx%d, %d MB, inference on %s",
            name,
            loop.time() - started,
            len(avatar.backgrounds),
            avatar.width,
            avatar.height,
            avatar.nbytes >> 20,
            avatar.model.device,
        )
        return avatar

    async def aclose(self) -> None:
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loaded.clear()
