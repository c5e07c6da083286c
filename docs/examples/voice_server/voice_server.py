"""Who is speaking?  A server that hears many microphones at a time, on Starlette and uvicorn.

    python voice_server.py [--host HOST] [--port PORT] [--max-sessions N] [--states FILE] [--threads N]

SIGTERM and Ctrl-C end it: those who wait are answered, and with --states everybody can go on with the next server.
Exit status: 0, or 2 after bad input.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import uvicorn
from connection import Connection
from front_end import CONTEXT, WEIGHTS, WINDOW, BatchedNetwork
from metrics import text
from service import CHUNK_BYTES, Service, Sessions
from silero_vad import SPEECH
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from states import States

import numba_lstm as nl
from numba_lstm.serving import Batcher

PAGE = Path(__file__).resolve().parent / "page"

OTHERS = 256
"""Files beside those of sessions: connections of pages and of callers who find the house full, and what is open."""


def batcher(max_sessions: int) -> Batcher:
    """Return what computes: front end, LSTM and decoder, for all chunks that wait together."""
    network = BatchedNetwork()
    return Batcher(
        network.lstm,
        max_sessions=max_sessions,
        before=network.front_end,
        after=network.probabilities,
        input_size=WINDOW,
        input_dtype=np.int16,
        max_wait=0.005,
    )


def states_file(path: Path) -> States:
    """Return the file of sessions of this network."""
    lstm = BatchedNetwork().lstm
    return States(path, WEIGHTS, (lstm.num_layers, lstm.hidden_size), (CONTEXT,))


def application(service: Service, max_sessions: int) -> ASGIApp:
    """Return the page, the recording that it plays, the WebSocket, health and metrics."""

    async def health(request: Request) -> Response:
        status = "leaving" if service.leaving else "ok"
        found = {"status": status, "sessions": service.sessions.counters()["sessions"], "max_sessions": max_sessions}
        return JSONResponse(found, 503 if service.leaving else 200)

    async def metrics(request: Request) -> Response:
        page = text(service.sessions.counters(), service.closed)
        return PlainTextResponse(page, media_type="text/plain; version=0.0.4")

    async def recording(request: Request) -> Response:
        return FileResponse(SPEECH, media_type="audio/wav")

    @contextlib.asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        async with service.sessions:
            service.begin()
            print("ready", flush=True)
            yield

    pages = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/speech.wav", recording),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        lifespan=life,
    )

    async def listening_or_pages(scope: Scope, receive: Receive, send: Send) -> None:
        # Each answer would pass through Starlette's layers, which have nothing to do with it.
        heard = scope["type"] == "websocket" and scope["path"] == "/listen"
        await (service if heard else pages)(scope, receive, send)

    return listening_or_pages


class Server(uvicorn.Server):
    """One that lets the service take its leave before connections are cut."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the service, then take no more connections, and end what is left."""
        # The port is given back last: whoever has it next reads the states at once.
        await self._service.leave()
        await super().shutdown(sockets)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; OSError if the address is taken."""
    family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server((host, port), family=family, backlog=1024)


def allow_files(count: int) -> None:
    """Raise the limit of open files, of which each connection is one, as far as the system lets us."""
    try:
        import resource
    except ImportError:  # not on Windows, where there is no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def parser() -> argparse.ArgumentParser:
    """Return the command line's."""
    found = argparse.ArgumentParser(description="Hear speech for many callers, over a WebSocket.")
    found.add_argument("--host", default="127.0.0.1", help="address to listen at; only this machine by default")
    found.add_argument("--port", type=int, default=8000)
    found.add_argument("--max-sessions", type=int, default=1000, metavar="N")
    found.add_argument("--states", type=Path, metavar="FILE", help="where sessions wait for the next server")
    found.add_argument("--threads", type=int, default=1, metavar="N", help="threads that compute")
    return found


def main(arguments: Sequence[str] | None = None, compute: Callable[[int], Sessions] = batcher) -> int:
    """Run the server until it is told to end, and return the exit status.

    ``compute`` returns what computes, for a number of sessions; the load test has others.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(format="voice_server.py: %(message)s", level=logging.WARNING)
    logging.getLogger("voice_server").setLevel(logging.INFO)
    try:
        nl.set_num_threads(options.threads)
        allow_files(options.max_sessions + OTHERS)
        listener = listening(options.host, options.port)  # first: of two servers only one may take the states
        with listener:
            service = Service(compute(options.max_sessions), options.states and states_file(options.states))
            config = uvicorn.Config(
                application(service, options.max_sessions),
                ws=Connection,
                ws_max_size=4 * CHUNK_BYTES,
                ws_per_message_deflate=False,  # noise does not become smaller
                timeout_graceful_shutdown=10,
                log_config=None,
                access_log=False,
                proxy_headers=False,
            )
            host, port, *_ = listener.getsockname()
            print(f"listening at http://{f'[{host}]' if ':' in host else host}:{port}/", flush=True)
            Server(config, service).run([listener])
    except (OSError, OverflowError, ValueError) as error:
        print(f"voice_server.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # after everything was done that the end asks for
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
