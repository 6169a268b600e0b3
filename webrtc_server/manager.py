"""All sessions: who may come in, who is here, who has to go."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final

import cachetools
import numpy as np

from pipeline import features
from pipeline.avatar import Avatar, AvatarError
from pipeline.avatar_store import AvatarNotFound, AvatarStore
from pipeline.batcher import Batcher
from pipeline.config import Config
from signaling.errors import AvatarUnusable, ServerFull, SessionNotFound, UnknownAvatar
from signaling.service import Answer, AvatarCard
from webrtc_server.offer import parse_offer
from webrtc_server.session import Session

logger = logging.getLogger(__name__)

WATCH_INTERVAL_S: Final = 1.0
CLOSED_KEPT_S: Final = 60.0
RETRY_AFTER_S: Final = 5


class SessionManager:
    """Implements signaling.service.SessionService. Lives on one event loop."""

    def __init__(
        self,
        config: Config,
        store: AvatarStore,
        batcher: Batcher,
        executor: Executor,
        monotonic: Callable[[], float],
    ) -> None:
        self._config = config
        self._store = store
        self._batcher = batcher
        self._executor = executor
        self._monotonic = monotonic
        self._sessions: dict[str, Session] = {}
        self._opening = 0
        # Real clients close their connection first and send DELETE after it: that is not an error.
        self._closed: cachetools.TTLCache[str, None] = cachetools.TTLCache(1000, CLOSED_KEPT_S, timer=monotonic)
        self._tasks: set[asyncio.Task[None]] = set()
        self._upkeep: list[asyncio.Task[None]] = []
        self._not_ready: str | None = "starting"
        self._draining = False
        self.opened = 0
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.retired_drops: Counter[str] = Counter()
        """Drops of sessions that are gone, so that totals never fall."""

    def start(self) -> None:
        self._upkeep = [self._spawn(self._prepare(), "prepare"), self._spawn(self._watch(), "watch")]

    async def aclose(self) -> None:
        """Closes every session and task."""
        self._draining = True
        self._not_ready = "shutting down"
        await asyncio.gather(*(self._retire(session, "shutdown") for session in list(self._sessions.values())))
        for task in self._upkeep:
            task.cancel()
        # Sessions that were already ending are let end: only then are their sockets closed.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.aclose()

    # signaling.service.SessionService

    async def open(self, sdp: str, avatar: str | None) -> Answer:
        """Answers an offer. Raises InvalidOffer, UnsupportedOffer, UnknownAvatar, AvatarUnusable, ServerFull."""
        try:
            return await self._open(sdp, avatar or self._config.default_avatar)
        except Exception as error:
            self.refused[type(error).__name__] += 1
            raise

    async def _open(self, sdp: str, avatar_name: str) -> Answer:
        offer = parse_offer(sdp)
        if self._draining:
            raise ServerFull("the server is shutting down", retry_after_s=RETRY_AFTER_S)
        limit = self.max_sessions
        # A place is taken before anything is awaited, so that no two offers share the last one.
        if len(self._sessions) + self._opening >= limit:
            raise ServerFull(f"{limit} of {limit} sessions are open", retry_after_s=RETRY_AFTER_S)
        self._opening += 1
        try:
            avatar = await self._avatar(avatar_name)
            session_id = secrets.token_urlsafe(12)
            session = Session(
                session_id,
                avatar,
                self._config,
                self._batcher.submit,
                self._monotonic,
                on_end=partial(self._on_end, session_id),
            )
            try:
                answer = await session.answer(offer)
            except BaseException:
                await session.aclose()
                raise
            self._sessions[session_id] = session
        finally:
            self._opening -= 1
        self.opened += 1
        logger.info("opened with avatar %s", avatar.name, extra={"session_id": session_id})
        return Answer(sdp=answer, session_id=session_id)

    async def _avatar(self, name: str) -> Avatar:
        try:
            return await self._store.get(name)
        except AvatarNotFound as error:
            raise UnknownAvatar(f"there is no avatar named '{name}'; GET /avatars lists them") from error
        except AvatarError as error:
            logger.error("avatar %s cannot be used: %s", name, error)
            raise AvatarUnusable(f"the avatar '{name}' cannot be used: its folder is broken") from error

    async def close(self, session_id: str) -> None:
        """Raises SessionNotFound for an id that was not open within the last minute."""
        session = self._sessions.get(session_id)
        if session is not None:
            await self._retire(session, "deleted")
        elif session_id not in self._closed:
            raise SessionNotFound(f"there is no session '{session_id}'")

    def stats(self, session_id: str) -> dict[str, object]:
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionNotFound(f"there is no session '{session_id}'")
        return session.stats(self._monotonic())

    def avatars(self) -> list[AvatarCard]:
        return [
            AvatarCard(
                name=name,
                title=summary.manifest.title,
                description=summary.manifest.description,
                licence=summary.manifest.licence,
                credit=summary.manifest.credit,
                width=summary.width,
                height=summary.height,
                fps=summary.fps,
                default=name == self._config.default_avatar,
            )
            for name, summary in self._store.summaries().items()
        ]

    def poster(self, name: str) -> Path:
        try:
            return self._store.poster(name)
        except AvatarError as error:
            raise UnknownAvatar(f"there is no avatar named '{name}'; GET /avatars lists them") from error

    def not_ready_reason(self) -> str | None:
        return self._not_ready

    # Their upkeep.

    @property
    def max_sessions(self) -> int:
        return self._config.sessions.max_sessions

    @property
    def sessions(self) -> list[Session]:
        return list(self._sessions.values())

    def _on_end(self, session_id: str, reason: str) -> None:
        session = self._sessions.get(session_id)
        if session is not None:
            self._spawn(self._retire(session, reason), f"retire {session_id}")

    async def _retire(self, session: Session, reason: str) -> None:
        if self._sessions.pop(session.id, None) is None:
            await session.aclose()
            return
        self._closed[session.id] = None
        self.ended[reason] += 1
        self.retired_drops.update(session.drops(self._monotonic()))
        logger.info("closed: %s", reason, extra={"session_id": session.id})
        await session.aclose()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            now = self._monotonic()
            for session in self.sessions:
                reason = session.verdict(now)
                if reason is not None:
                    self._on_end(session.id, reason)

    async def _prepare(self) -> None:
        """Loads the default avatar and runs its net once: the first caller should not pay for that."""
        if not self._config.inference.warmup:
            self._not_ready = None
            return
        name = self._config.default_avatar
        self._not_ready = f"loading the avatar '{name}'"
        try:
            avatar = await self._store.get(name)
            silence = np.full((features.WINDOW, features.N_MELS), features.SILENCE, np.float32)
            warm_up = partial(avatar.model.infer, [avatar.input_for(0, silence)])
            await asyncio.get_running_loop().run_in_executor(self._executor, warm_up)
        except Exception as error:
            logger.error("the default avatar '%s' cannot be used: %s", name, error)
            self._not_ready = f"the default avatar '{name}' cannot be used; see the log"
            return
        self._not_ready = None
        logger.info("ready")

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
