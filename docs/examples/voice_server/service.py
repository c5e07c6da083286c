"""What a client of the voice server talks to: chunks of audio in, probabilities of speech out.

A client connects to the WebSocket ``/listen``, or ``/listen?session=NAME`` to go on where it was when a server ended.
The first message to it is text, ``{"session": NAME, "chunks": n}``: how many chunks have been answered.  Each message
from it is a chunk, 512 samples as little-endian int16 at 16 kHz; each is answered, in order, by a message of 4 bytes,
the probability of speech as a little-endian float32.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections import Counter
from time import time
from typing import Any, Protocol
from urllib.parse import parse_qs

import numpy as np
from connection import CHUNK_BYTES
from front_end import CHUNK, CONTEXT
from starlette.types import Message, Receive, Scope, Send
from states import Kept, States

from numba_lstm.serving import FullError

WRONG_KIND, WRONG_SIZE, FAILED, RESTARTS, FULL, UNKNOWN = 1003, 1007, 1011, 1012, 1013, 4404
"""Codes of closing."""

ENDS = RESTARTS, "the server ends: try again later"

KEPT = 600.0
"""Seconds for which a session that was left in a restart can be gone on with."""

HURRY = 10.0
"""Seconds, at the end, for those who wait for an answer."""

log = logging.getLogger("voice_server")


class Session(Protocol):
    """A caller's state."""

    state: tuple[np.ndarray, np.ndarray]

    async def step(self, x: np.ndarray) -> np.ndarray:
        """Return the probability (1,) for a window (WINDOW,) int16."""

    async def close(self) -> None:
        """Give the place to others."""


class Sessions(Protocol):
    """What computes: `numba_lstm.serving.Batcher`, or another network beside it in the load test."""

    async def open(self, state: tuple[np.ndarray, np.ndarray] | None = None) -> Session:
        """Return a new session, or raise FullError."""

    def counters(self) -> dict[str, Any]:
        """Return what has been done so far, how many ``sessions`` are open among it."""

    async def __aenter__(self) -> Any:
        """Get ready."""

    async def __aexit__(self, *error: Any) -> None:
        """Compute what waits, and end."""


class Client:
    """A caller who is connected: what was heard last, and what computes."""

    def __init__(self, name: str, session: Session, kept: Kept | None, send: Send) -> None:
        self.name, self.session, self.send = name, session, send
        self.kept = kept
        """What the client came back for, as long as it has not gone on."""
        self.chunks = 0
        self._context = bytes(2 * CONTEXT)
        if kept is not None:
            self.chunks, self._context = kept.chunks, kept.context.tobytes()

    async def hear(self, data: bytes) -> bytes:
        """Return the answer to a chunk."""
        self.kept = None
        window = self._context + data
        self._context = data[-2 * CONTEXT :]
        probability = await self.session.step(np.frombuffer(window, "<i2"))
        self.chunks += 1
        return probability.tobytes()

    def keep(self) -> Kept:
        """Return what it takes to go on later."""
        h, c = self.session.state
        return Kept(h, c, np.frombuffer(self._context, "<i2"), self.chunks, time())

    async def end(self, code: int, reason: str) -> None:
        """Close the connection and say why."""
        await self.send({"type": "websocket.close", "code": code, "reason": reason})


class Service:
    """All clients, those who are away during a restart, and the end of the service.

    An instance is the ASGI application of the WebSocket.

    Parameters
    ----------
    sessions : Sessions
        What computes.
    states : States, optional
        Where sessions are kept in a restart; without it they end with the server.

    Raises
    ------
    OSError, ValueError
        If there are states that cannot be read.
    """

    def __init__(self, sessions: Sessions, states: States | None) -> None:
        self.sessions, self._states = sessions, states
        self.away = {} if states is None else states.read(KEPT)
        self.closed: Counter[int] = Counter()
        """How often this side has closed a connection, by the code."""
        self.leaving = False
        self._clients: set[Client] = set()
        self._busy = 0
        """Clients whose chunk is being answered."""
        self._quiet, self._told = asyncio.Event(), asyncio.Event()

    def begin(self) -> None:
        """Let those who are away come back: from now on the file says too little."""
        if self._states is not None:
            self._states.remove()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()  # the wish to connect
        await send({"type": "websocket.accept"})
        client = await self._enter(scope, send)
        if client is None:
            return
        try:
            hello = json.dumps({"session": client.name, "chunks": client.chunks})
            await send({"type": "websocket.send", "text": hello})
            while (message := await receive())["type"] == "websocket.receive" and not self.leaving:
                data = message.get("bytes")
                if data is None or len(data) != CHUNK_BYTES:
                    await self._refuse(client, message)
                    return
                self._busy += 1
                try:
                    await send({"type": "websocket.send", "bytes": await client.hear(data)})
                finally:
                    self._busy -= 1
                    if self.leaving and not self._busy:
                        self._quiet.set()
            if self.leaving:
                await self._told.wait()  # its state is still wanted
        except OSError:  # the client is lost, with what was to be sent to it
            if self.leaving:
                await self._told.wait()  # as above
        except Exception:
            log.exception("a chunk could not be computed")
            self.closed[FAILED] += 1
            with contextlib.suppress(OSError, RuntimeError):  # lost, or closed by the server
                await client.end(FAILED, "the chunk could not be computed")
        finally:
            self._clients.discard(client)
            if client.kept is not None:  # its connection may have died right away: it can come again
                self.away[client.name] = client.kept
            await client.session.close()

    async def _enter(self, scope: Scope, send: Send) -> Client | None:
        """Return a new client, or one that comes back, or tell it why not."""
        if self.leaving:  # in particular, names mean nothing now
            return await self._turn_away(send, *ENDS)
        name = parse_qs(scope["query_string"].decode("latin-1")).get("session", [None])[0]
        kept = self._waiting(name)
        if name is not None and kept is None:
            return await self._turn_away(send, UNKNOWN, "no such session: connect without a name")
        try:
            session = await self.sessions.open(None if kept is None else (kept.h, kept.c))
        except FullError:
            return await self._turn_away(send, FULL, "the house is full: try again later")
        gone = self._waiting(name) is not kept  # somebody else was faster
        if gone or self.leaving:
            await session.close()
            return await self._turn_away(send, *(ENDS if self.leaving else (UNKNOWN, "no such session any more")))
        if name is not None:
            del self.away[name]
        client = Client(name or secrets.token_urlsafe(12), session, kept, send)
        self._clients.add(client)
        return client

    def _waiting(self, name: str | None) -> Kept | None:
        """Return the session of a name that somebody may go on with."""
        kept = None if name is None else self.away.get(name)
        return kept if kept is not None and kept.since > time() - KEPT else None

    async def _turn_away(self, send: Send, code: int, reason: str) -> None:
        self.closed[code] += 1
        await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _refuse(self, client: Client, message: Message) -> None:
        """End a connection that brought something else than a chunk."""
        data = message.get("bytes")
        code, found = (WRONG_KIND, "text") if data is None else (WRONG_SIZE, f"{len(data)} bytes")
        self.closed[code] += 1
        await client.end(code, f"a chunk is a binary message of {CHUNK_BYTES} bytes, {CHUNK} int16, not {found}")

    async def leave(self) -> None:
        """Answer what waits, write the states of all sessions, and tell their clients how to go on."""
        self.leaving = True
        if self._busy:
            try:
                await asyncio.wait_for(self._quiet.wait(), HURRY)
            except asyncio.TimeoutError:
                log.error("%d clients still wait for an answer", self._busy)
        clients = list(self._clients)
        kept = self._write(clients)
        await asyncio.gather(*(self._tell(client, client.name in kept) for client in clients))
        self._told.set()

    async def _tell(self, client: Client, kept: bool) -> None:
        """Tell a client of the end, and how it can go on."""
        state = json.dumps({"session": client.name, "chunks": client.chunks})
        self.closed[RESTARTS] += 1
        try:
            await asyncio.wait_for(client.end(RESTARTS, state if kept else "sessions are not kept"), 1)
        except (OSError, RuntimeError, asyncio.TimeoutError):  # lost, closed by the server, or it does not read
            log.warning("a client could not be told of the end")

    def _write(self, clients: list[Client]) -> set[str]:
        """Write the sessions of clients and of those who are away; return the names of those that are kept."""
        if self._states is None:
            return set()
        late = time() - KEPT
        sessions = {name: kept for name, kept in self.away.items() if kept.since > late}
        for client in clients:
            try:
                sessions[client.name] = client.keep()
            except RuntimeError as error:  # it still waits for an answer
                log.error("a session could not be kept: %s", error)
        try:
            self._states.write(sessions)
        except OSError as error:
            log.error("sessions could not be kept: %s", error)
            return set()
        log.info("%d sessions kept", len(sessions))
        return set(sessions)
