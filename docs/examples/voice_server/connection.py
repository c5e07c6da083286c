"""WebSocket connections of uvicorn that no client can fill, and that take a chunk in a third of the time."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import TimerHandle
from collections import deque
from typing import cast

from front_end import CHUNK
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import apply_mask
from websockets.protocol import State

CHUNK_BYTES = 2 * CHUNK
"""Of int16."""

SLOW = 5.0
"""Seconds in which a client has to make room for what it was sent."""

SEND_BUFFER = 16 << 10
"""Bytes that wait for a client in the kernel, and again as many in this process: thousands of answers."""

WHOLE_BINARY, STEERS = 0x82, 0x08
MASKED, LENGTH, SHORT, TWO_BYTES = 0x80, 0x7F, 125, 126
"""Of the first two bytes of a frame: its kind; and its length, or in how many bytes this follows."""

CHUNK_FRAME = struct.pack("!BBH", WHOLE_BINARY, MASKED | TWO_BYTES, CHUNK_BYTES)
"""How a client's frame of one chunk begins; four bytes of a mask follow."""

HEADER = len(CHUNK_FRAME) + 4
FRAME_BYTES = HEADER + CHUNK_BYTES


class Inbox:
    """What a connection has received, for one reader: all that uvicorn asks of a queue, in a quarter of the time."""

    def __init__(self) -> None:
        self._messages: deque[ASGIReceiveEvent] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, message: ASGIReceiveEvent) -> None:
        """Add a message."""
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> ASGIReceiveEvent:
        """Return the next message when there is one."""
        while not self._messages:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._messages.popleft()

    def qsize(self) -> int:
        """Return how many messages wait."""
        return len(self._messages)

    def empty(self) -> bool:
        """Return whether none does."""
        return not self._messages


class Connection(WebSocketsSansIOProtocol):
    """A connection that is cut off when its client does not read, with a short way for chunks and answers.

    uvicorn waits with the next message until the last one can be sent, so that what waits does not grow; but it would
    wait for ever, as a transport does that is closed while something is left.

    Nearly all that is received are chunks of one frame each, and all that is sent is a few bytes.  They need little of
    what a WebSocket may be otherwise.  A client that sends anything else, but for frames that steer the connection, is
    from then on served the usual way.
    """

    _cut: TimerHandle | None = None
    _part = b""
    """The beginning of a chunk's frame."""
    _usual = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have little room for what the client does not take."""
        self.queue = cast("asyncio.Queue[ASGIReceiveEvent]", Inbox())
        super().connection_made(transport)
        transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=SEND_BUFFER)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends: whole chunks at once, and frames that steer the connection as uvicorn does."""
        data, self._part = self._part + data, b""
        if self._usual or self.conn.state is not State.OPEN:
            super().data_received(data)
            return
        at = 0
        while at < len(data):
            end = at + FRAME_BYTES
            if data.startswith(CHUNK_FRAME, at) and end <= len(data):
                self._take(apply_mask(data[at + HEADER : end], data[at + HEADER - 4 : at + HEADER]))
            elif CHUNK_FRAME.startswith(data[at : at + len(CHUNK_FRAME)]):
                self._part, end = data[at:], len(data)  # the rest will come
            else:
                end = at + 6 + (data[at + 1] & LENGTH) if data[at] & STEERS and at + 1 < len(data) else len(data) + 1
                if end > len(data):
                    self._usual, end = True, len(data)
                super().data_received(data[at:end])
                if self.conn.state is not State.OPEN:  # closed, and what follows says nothing
                    return
            at = end

    def _take(self, chunk: bytes) -> None:
        """Hand a chunk to the application; read no more while others wait."""
        self.queue.put_nowait({"type": "websocket.receive", "bytes": chunk})
        if self.queue.qsize() > 1 and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says."""
        data = message.get("bytes")
        usual = not isinstance(data, bytes) or len(data) > SHORT or self.conn.state is not State.OPEN
        if usual or self.disconnected or self.close_sent or not self.writable.is_set():
            await super().send(message)
        else:
            self.transport.write(bytes((WHOLE_BINARY, len(data))) + data)

    def pause_writing(self) -> None:
        """Begin to count when there is no room."""
        super().pause_writing()
        self._cut = self.loop.call_later(SLOW, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on as before when there is."""
        super().resume_writing()
        self._stop_counting()

    def keepalive_timeout(self) -> None:
        """Close the connection of a client that does not answer, whether or not it reads what is left."""
        super().keepalive_timeout()
        self.loop.call_later(SLOW, self.transport.abort)

    async def run_asgi(self) -> None:
        """Serve the client; when that is over, it has as long for what is left."""
        await super().run_asgi()
        if not self.disconnected:
            self.loop.call_later(self.close_timeout + SLOW, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nothing stay behind."""
        self._stop_counting()
        super().connection_lost(exc)

    def _stop_counting(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
