"""The voice server: the bits of a detector alone, faults that hurt nobody else, restarts, the load test, the page."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.places import ROOT
from support.processes import HANG, PACKAGE, posix

for package in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(package)

FOLDER = ROOT / "docs" / "examples" / "voice_server"
sys.path.append(str(FOLDER))

import connection  # noqa: E402
import front_end  # noqa: E402
import load  # noqa: E402
import metrics  # noqa: E402
import silero_vad as silero  # noqa: E402
import states  # noqa: E402
import uvicorn  # noqa: E402
import voice_server  # noqa: E402
from service import Client, Service  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402
from websockets.client import ClientProtocol  # noqa: E402
from websockets.exceptions import ConnectionClosed, ConnectionClosedError  # noqa: E402
from websockets.uri import parse_uri  # noqa: E402

pytestmark = posix

CHUNK, WINDOW = silero.CHUNK, front_end.WINDOW
SOME = 40
"""Chunks that a caller says in most tests."""

# Less waits for a reader than in a service, and it counts as slow sooner.
PROGRAM = """
import sys, connection, voice_server
connection.SLOW, connection.SEND_BUFFER = 0.5, 1 << 12
sys.exit(voice_server.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def network() -> Any:
    return front_end.BatchedNetwork()


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    """Chunks (188, CHUNK) int16 of the bundled recording."""
    samples = silero.read_wav(silero.SPEECH)
    return (np.pad(samples, (0, -samples.size % CHUNK)) * 32768).astype("<i2").reshape(-1, CHUNK)


@pytest.fixture(scope="module")
def windows(recording: np.ndarray) -> np.ndarray:
    """What the network sees of each chunk, (188, WINDOW) int16."""
    samples = np.pad(recording.ravel(), (front_end.CONTEXT, 0))
    return np.stack([samples[at * CHUNK :][:WINDOW] for at in range(len(recording))])


def alone(network: Any, chunks: np.ndarray) -> np.ndarray:
    """Return the probabilities that a detector gives which hears nobody else."""
    found: np.ndarray = silero.VoiceDetector(network).push(chunks.ravel().astype(np.float32) / 32768)
    return found


# --- the front end ----------------------------------------------------------------------------------------


def test_a_chunk_has_the_same_bits_in_any_batch(network: Any, windows: np.ndarray) -> None:
    one_by_one = np.concatenate([network.features(window.astype(np.float32) / 32768) for window in windows])
    rng = np.random.default_rng(0)
    for size in (*range(1, 10), 64, 188):
        chosen = rng.integers(0, len(windows), size)
        np.testing.assert_array_equal(network.front_end(windows[chosen]), one_by_one[chosen])
    hidden = rng.standard_normal((9, 128), np.float32)
    each = [network.probability(row[None]) for row in hidden]
    np.testing.assert_array_equal(network.probabilities(hidden)[:, 0], np.float32(each))


def test_the_front_end_is_that_of_the_example(network: Any, windows: np.ndarray) -> None:
    plain = silero.VoiceNetwork()
    expected = np.concatenate([plain.features(window.astype(np.float32) / 32768) for window in windows])
    found = network.front_end(windows)
    # float32 here, float64 there.  In digital silence a convolution adds terms of 45 in all, which cancel; the next
    # ones make no more of its rounding than four times as much.
    np.testing.assert_allclose(found, expected, rtol=0, atol=45 * 4 * np.finfo(np.float32).eps)


def test_probabilities_are_those_of_the_published_network(network: Any, recording: np.ndarray) -> None:
    with np.load(silero.EXPECTED, allow_pickle=False) as expected:
        np.testing.assert_allclose(alone(network, recording), expected["speech_prob"], rtol=0, atol=1e-5)


def test_a_transform_that_is_none_is_refused(tmp_path: Path) -> None:
    arrays = dict(front_end.load_file(front_end.WEIGHTS))
    arrays["stft.weight"] = arrays["stft.weight"] + np.eye(258, 256, dtype=np.float32)[:, None]
    path = tmp_path / "other.safetensors"
    from safetensors.numpy import save_file

    save_file(arrays, path)
    with pytest.raises(ValueError, match=re.escape(f"{path}: stft.weight should be a Fourier transform")):
        front_end.BatchedNetwork(path)


def test_docstring_examples() -> None:
    for module in (front_end, metrics):
        failed, tried = doctest.testmod(module)
        assert tried
        assert failed == 0


# --- a server ---------------------------------------------------------------------------------------------


class Running(NamedTuple):
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=HANG) as answer:
            return str(answer.read().decode())

    def connect(self, session: str | None = None) -> Any:
        query = "" if session is None else f"?session={session}"
        return connect(f"ws://127.0.0.1:{self.port}/listen{query}", open_timeout=HANG, proxy=None)

    def wait_for(self, sessions: int) -> None:
        """Wait until as many sessions are open."""
        end = monotonic() + HANG
        while json.loads(self.get("health"))["sessions"] != sessions:
            assert monotonic() < end
            sleep(0.02)

    def end(self) -> str:
        """End it as a service is ended, and return what it said."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=HANG)
        assert self.process.returncode == -signal.SIGTERM
        return said


def environment() -> dict[str, str]:
    """Return that of a process which finds the example and this package."""
    paths = [str(FOLDER), str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Running]:
    command = [sys.executable, "-c", PROGRAM, "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            address = process.stdout.readline()
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            yield Running(process, int(address.rstrip("/\n").rpartition(":")[2]))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving("--max-sessions", "20") as running:
        yield running
        assert "Traceback" not in running.end()


async def hello(caller: Any) -> dict[str, Any]:
    return dict(json.loads(await caller.recv()))


async def say(caller: Any, chunk: np.ndarray) -> float:
    await caller.send(chunk.tobytes())
    (probability,) = struct.unpack("<f", await caller.recv())
    return float(probability)


async def said(caller: Any, chunks: np.ndarray) -> np.ndarray:
    return np.array([await say(caller, chunk) for chunk in chunks], np.float32)


def test_callers_at_random_times(server: Running, network: Any, recording: np.ndarray) -> None:
    """Each gets the bits of a detector alone, whether chunks come one by one or several in a bundle."""
    rng = random.Random(0)

    async def caller(first: int) -> None:
        chunks = np.roll(recording, -first, axis=0)[:SOME]
        async with server.connect() as sock:
            assert (await hello(sock))["chunks"] == 0
            found: list[float] = []
            while len(found) < SOME:
                bundle = chunks[len(found) :][: rng.choice((1, 1, 1, 3, 9))]
                for chunk in bundle:
                    await sock.send(chunk.tobytes())
                found += [struct.unpack("<f", await sock.recv())[0] for _ in bundle]
                await asyncio.sleep(rng.choice((0, 0, 0.003)))
        np.testing.assert_array_equal(np.float32(found), alone(network, chunks))

    async def callers() -> None:
        await asyncio.gather(*(caller(9 * n) for n in range(16)))

    asyncio.run(callers())
    server.wait_for(0)


def test_frames_in_pieces_and_fragments(server: Running, network: Any, recording: np.ndarray) -> None:
    """However the bytes arrive, and whatever stands between chunks."""
    chunks = recording[60 : 60 + SOME]
    frames = load.frames(chunks)
    ping = bytes([0x89, 0x80 | 3, 0, 0, 0, 0]) + b"abc"
    data = bytearray(ping.join(frames[:20]))
    for frame in frames[20:]:  # each in two frames: first without the final bit, then the continuation
        mask, body = frame[4:8], frame[8:]
        data += bytes([0x02, 0x80 | 100]) + mask + body[:100]
        data += struct.pack("!BBH", 0x80, 0x80 | 126, len(body) - 100) + mask + body[100:]
    rng = random.Random(1)
    with load.connect(server.port) as sock:
        sock.settimeout(HANG)
        answers = b""
        while data:
            size = rng.choice((1, 2, 5, 500, 1031, 1032, 1033, 3000))
            sock.sendall(data[:size])
            del data[:size]
        while answers.count(load.ANSWER) < SOME:
            answers += sock.recv(4096)
    answers = answers.replace(b"\x8a\x03abc", b"")
    found = np.frombuffer(b"".join(answers[at + 2 : at + 6] for at in range(0, 6 * SOME, 6)), "<f4")
    np.testing.assert_array_equal(found, alone(network, chunks))


def test_pages(server: Running, recording: np.ndarray) -> None:
    async def call() -> None:
        async with server.connect() as sock:
            await hello(sock)
            await said(sock, recording[:3])
            assert json.loads(server.get("health")) == {"status": "ok", "sessions": 1, "max_sessions": 20}

    before = counted(server)
    asyncio.run(call())
    server.wait_for(0)
    after = counted(server)
    assert after["voice_steps_total"] - before["voice_steps_total"] == 3
    assert after["voice_opened_total"] - before["voice_opened_total"] == 1
    assert after["voice_batch_size_count"] == after['voice_batch_size_bucket{le="+Inf"}']
    assert "Is somebody speaking?" in server.get("")


def counted(server: Running) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in server.get("metrics").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


# --- faults -----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def neighbour(server: Running, network: Any, chunks: np.ndarray) -> Any:
    """Hold that somebody who calls meanwhile gets what is right, before and after."""
    half = len(chunks) // 2
    async with server.connect() as sock:
        await hello(sock)
        first = await said(sock, chunks[:half])
        yield
        second = await said(sock, chunks[half:])
    np.testing.assert_array_equal(np.concatenate([first, second]), alone(network, chunks))


RUBBISH = {
    "text": ("hello", 1003, "a chunk is a binary message of 1024 bytes, 512 int16, not text"),
    "empty": (b"", 1007, "a chunk is a binary message of 1024 bytes, 512 int16, not 0 bytes"),
    "odd": (bytes(1023), 1007, "a chunk is a binary message of 1024 bytes, 512 int16, not 1023 bytes"),
    "float": (bytes(2048), 1007, "a chunk is a binary message of 1024 bytes, 512 int16, not 2048 bytes"),
    "large": (bytes(100_000), 1009, None),
    "endless": ([bytes(1000)] * 1000, 1009, None),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish(kind: str, server: Running, network: Any, recording: np.ndarray) -> None:
    message, code, reason = RUBBISH[kind]

    async def call() -> None:
        async with neighbour(server, network, recording[:8]):
            async with server.connect() as sock:
                await hello(sock)
                await say(sock, recording[0])
                with contextlib.suppress(ConnectionClosed):  # in the middle of what is too long
                    await sock.send(message)
                with pytest.raises(ConnectionClosedError) as caught:
                    await sock.recv()
            said = caught.value.rcvd
            if reason is not None:
                assert said is not None
                assert (said.code, said.reason) == (code, reason)
            elif said is not None:  # it is lost if the system resets a connection on which more has come
                assert said.code == code

    asyncio.run(call())
    server.wait_for(0)


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 4000, bytes(4000), b"\x82\x04abcd", b"GET / HTTP/1.1\r\n\r\n", b"\x88\x80"],
    ids=("ones", "zeros", "no mask", "http", "half"),
)
def test_bytes_that_are_no_frames(data: bytes, server: Running, network: Any, recording: np.ndarray) -> None:
    async def call() -> None:
        async with neighbour(server, network, recording[:8]):
            with load.connect(server.port) as sock:
                sock.settimeout(HANG)
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while sock.recv(4096):
                        pass

    asyncio.run(call())
    server.wait_for(0)


def test_clients_that_vanish(server: Running, network: Any, recording: np.ndarray) -> None:
    """Some within a frame, some while their chunk is computed; some say that they go, and some do not."""
    frame = load.frames(recording[:1])[0]

    async def call() -> None:
        async with neighbour(server, network, recording[:SOME]):
            for n in range(40):
                sock = load.connect(server.port)
                sock.setblocking(True)
                sock.sendall(frame * (n % 3) + frame[: n * 26])
                if n % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                sock.close()
                if n % 10 == 9:
                    server.wait_for(1)

    asyncio.run(call())
    server.wait_for(0)


def test_a_client_that_does_not_read(server: Running, network: Any, recording: np.ndarray) -> None:
    """It is cut off, and what it sent and did not take has not piled up."""
    frames = b"".join(load.frames(recording)[:60])

    def resident() -> int:
        return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def send_for_ever(sock: socket.socket) -> None:
        while True:
            sock.sendall(frames)

    async def call() -> None:
        async with neighbour(server, network, recording[:8]):
            before = resident() if Path("/proc/self/statm").exists() else 0
            with load.connect(server.port) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                sock.settimeout(HANG)
                with pytest.raises(OSError, match=r"reset|pipe"):
                    send_for_ever(sock)
            if before:
                assert resident() - before < 50 << 20

    asyncio.run(call())
    server.wait_for(0)


class HalfDead(asyncio.Transport):
    """One that waits, when it is closed, for a client that does not read the little that is left."""

    def __init__(self) -> None:
        super().__init__()
        self.closing, self.aborted = False, asyncio.Event()
        self.socket = socket.socket()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        assert self.closing
        self.socket.close()
        self.aborted.set()


@pytest.mark.parametrize("end", ["no pong", "nonsense", "refusal"])
def test_a_client_that_does_not_read_the_last_bytes_is_cut_off(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that the transport never asked to wait for them."""
    monkeypatch.setattr(connection, "SLOW", 0.0)
    accepted = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        accepted.set()
        if end == "refusal":
            await send({"type": "websocket.close", "code": 1003})
        elif end == "nonsense":
            await receive()
        else:
            await asyncio.Event().wait()

    async def main() -> None:
        config = uvicorn.Config(app, ws=connection.Connection, log_config=None)
        one, transport = connection.Connection(config, uvicorn.server.ServerState(), {}), HalfDead()
        one.close_timeout = 0.0
        one.connection_made(transport)
        caller = ClientProtocol(parse_uri("ws://localhost/listen"))
        caller.send_request(caller.connect())
        one.data_received(b"".join(caller.data_to_send()))
        await accepted.wait()
        if end == "no pong":
            one.keepalive_timeout()
        elif end == "nonsense":
            one.data_received(b"\xff" * 9)
        await asyncio.wait_for(transport.aborted.wait(), HANG)

    asyncio.run(main())


def test_a_full_house(server: Running, recording: np.ndarray) -> None:
    async def call() -> None:
        async with contextlib.AsyncExitStack() as stack:
            inside = [await stack.enter_async_context(server.connect()) for _ in range(20)]
            for sock in inside:
                await hello(sock)
            late = await stack.enter_async_context(server.connect())
            with pytest.raises(ConnectionClosedError, match="the house is full: try again later") as caught:
                await late.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1013
            await inside.pop().close()
            server.wait_for(19)
            again = await stack.enter_async_context(server.connect())
            await hello(again)
            await say(again, recording[0])

    before = counted(server).get('voice_closed_total{code="1013"}', 0)
    asyncio.run(call())
    server.wait_for(0)
    assert counted(server)['voice_closed_total{code="1013"}'] == before + 1


# --- restarts ---------------------------------------------------------------------------------------------


def test_a_restart(tmp_path: Path, network: Any, recording: np.ndarray) -> None:
    """Callers are in the middle of their speech, and afterwards have the bits of those whom nobody disturbed."""
    path = tmp_path / "sessions"
    speech = [np.roll(recording, -20 * n, axis=0) for n in range(6)]
    found: list[list[float]] = [[] for _ in speech]
    names: list[str] = []

    async def say_for_ever(server: Running, sock: Any, n: int) -> None:
        """One chunk is ahead of the answers."""
        await sock.send(speech[n][0].tobytes())
        while True:
            with contextlib.suppress(ConnectionClosed):  # an answer that came before the end is still to be read
                await sock.send(speech[n][(len(found[n]) + 1) % len(recording)].tobytes())
            found[n] += struct.unpack("<f", await sock.recv())
            if len(found[n]) == 10 and n == 0:
                server.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.002)

    async def until_it_ends(server: Running, n: int) -> str:
        """Say chunks, and return the name to go on with."""
        async with server.connect() as sock:
            await hello(sock)
            with pytest.raises(ConnectionClosed) as caught:
                await say_for_ever(server, sock, n)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        state = json.loads(caught.value.rcvd.reason)
        assert state["chunks"] == len(found[n])
        return str(state["session"])

    async def before(server: Running) -> None:
        names.extend(await asyncio.gather(*(until_it_ends(server, n) for n in range(len(speech)))))

    async def after(server: Running, n: int) -> None:
        async with server.connect(names[n]) as sock:
            assert await hello(sock) == {"session": names[n], "chunks": len(found[n])}
            found[n] += (await said(sock, np.roll(speech[n], -len(found[n]), axis=0)[:SOME])).tolist()

    async def all_after(server: Running) -> None:
        await asyncio.gather(*(after(server, n) for n in range(len(speech))))
        for name in (names[0], "nobody"):  # it has gone on already, or has never been
            async with server.connect(name) as sock:
                with pytest.raises(ConnectionClosedError, match="no such session") as caught:
                    await sock.recv()
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 4404

    with serving("--states", str(path)) as server:
        asyncio.run(before(server))
        server.process.wait(HANG)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["sessions"]
    with serving("--states", str(path)) as server:  # nobody comes: it hands on what it has
        assert not path.exists()
        assert "6 sessions kept" in server.end()
    with serving("--states", str(path)) as server:
        asyncio.run(all_after(server))
        assert "0 sessions kept" in server.end()
    for n, chunks in enumerate(speech):
        heard = np.tile(chunks, (len(found[n]) // len(chunks) + 1, 1))[: len(found[n])]
        np.testing.assert_array_equal(np.float32(found[n]), alone(network, heard))


def test_who_comes_back_and_says_nothing_can_come_again(tmp_path: Path, network: Any, recording: np.ndarray) -> None:
    """A connection that dies right after the restart does not take the session with it; one that goes on does."""
    path = tmp_path / "sessions"
    file_of_states(path).write({"a": kept(7)})

    async def greeted(server: Running) -> dict[str, Any]:
        async with server.connect("a") as sock:
            return await hello(sock)

    async def refused(server: Running) -> None:
        async with server.connect("a") as sock:
            await hello(sock)
            await sock.send("hello")
            with pytest.raises(ConnectionClosedError):
                await sock.recv()

    async def goes_on(server: Running) -> None:
        async with server.connect("a") as sock:
            await hello(sock)
            await say(sock, recording[0])

    with serving("--states", str(path)) as server:
        for call in (greeted, refused, greeted):
            asyncio.run(call(server))
            server.wait_for(0)
        assert asyncio.run(greeted(server)) == {"session": "a", "chunks": 7}
        server.wait_for(0)
        assert "1 sessions kept" in server.end()
    (found,) = file_of_states(path).read(60).values()
    for value, expected in zip(found, kept(7), strict=True):
        np.testing.assert_array_equal(value, expected)
    with serving("--states", str(path)) as server:
        asyncio.run(goes_on(server))
        server.wait_for(0)
        assert "0 sessions kept" in server.end()


class Still:
    """Sessions, and each of them, that compute nothing."""

    state = (np.zeros((1, 128), np.float32), np.zeros((1, 128), np.float32))

    async def open(self, state: Any = None) -> Any:
        return self

    async def step(self, x: np.ndarray) -> np.ndarray:
        return np.zeros(1, np.float32)

    async def close(self) -> None:
        pass


def test_who_is_lost_with_an_answer_while_the_server_leaves_is_kept(tmp_path: Path) -> None:
    """As is who waits for none."""
    file = file_of_states(tmp_path / "sessions")

    async def main() -> None:
        service = Service(Still(), file)
        received = iter(["websocket.connect", "websocket.receive"])
        leaving: list[asyncio.Task[None]] = []

        async def receive() -> Any:
            return {"type": next(received), "bytes": bytes(2 * CHUNK)}

        async def send(message: Any) -> None:
            if "bytes" in message:
                leaving.append(asyncio.create_task(service.leave()))
                while not service.leaving:
                    await asyncio.sleep(0)
                raise ConnectionResetError

        await service({"query_string": b""}, receive, send)
        await leaving[0]

    asyncio.run(main())
    assert [one.chunks for one in file.read(60).values()] == [1]


def test_the_port_is_taken_until_the_states_are_written() -> None:
    """The next server reads the states as soon as it has the port."""
    listener = voice_server.listening("127.0.0.1", 0)
    address = listener.getsockname()
    found: list[bool] = []

    class Leaving:
        async def leave(self) -> None:
            found.append(taken(address))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Never called."""

    async def main() -> None:
        server = voice_server.Server(uvicorn.Config(app, lifespan="off", log_config=None), Leaving())
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0)
        server.should_exit = True
        await serving

    asyncio.run(main())
    assert found == [True]
    assert not taken(address)


def taken(address: tuple[str, int]) -> bool:
    """Whether another server could not listen at an address."""
    try:
        socket.create_server(address).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("query", [b"", b"session=a"])
def test_who_comes_while_the_server_leaves_is_told_to_come_again(query: bytes) -> None:
    """Also who has just been told the name to go on with, which this server does not know any more."""
    sent: list[Any] = []

    async def main() -> None:
        service = Service(Still(), None)
        await service.leave()

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await service({"query_string": query}, receive, send)

    asyncio.run(main())
    reason = "the server ends: try again later"
    assert sent[1:] == [{"type": "websocket.close", "code": 1012, "reason": reason}]


def test_a_connection_that_is_closed_already_hides_the_end_from_nobody() -> None:
    """uvicorn takes a message to it for a mistake of the application's."""
    told: list[int] = []

    async def good(message: Any) -> None:
        told.append(message["code"])

    async def closed(message: Any) -> None:
        raise RuntimeError("Unexpected ASGI message 'websocket.close', after sending 'websocket.close'.")

    async def main() -> None:
        service = Service(Still(), None)
        service._clients = {Client(str(n), Still(), None, send) for n, send in enumerate((closed, good, closed, good))}
        await service.leave()

    asyncio.run(main())
    assert told == [1012, 1012]


def test_without_a_file_sessions_end(recording: np.ndarray) -> None:
    async def call(server: Running) -> None:
        async with server.connect() as sock:
            await hello(sock)
            await say(sock, recording[0])
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed, match="sessions are not kept"):
                await sock.recv()

    with serving() as server:
        asyncio.run(call(server))
        assert server.process.wait(HANG) == -signal.SIGTERM


def kept(n: int) -> states.Kept:
    rng = np.random.default_rng(n)
    h, c = rng.standard_normal((2, 1, 128), np.float32)
    return states.Kept(h, c, rng.integers(-9, 9, 64, np.int16), n, 1e12)


def file_of_states(path: Path) -> states.States:
    return states.States(path, front_end.WEIGHTS, (1, 128), (64,))


@pytest.mark.parametrize("count", [0, 3])
def test_states_come_back(count: int, tmp_path: Path) -> None:
    file = file_of_states(tmp_path / "sessions")
    assert file.read(60) == {}
    sessions = {f"name {n}": kept(n) for n in range(count)}
    file.write(sessions)
    found = file.read(60)
    assert [*found] == [*sessions]
    for name, one in sessions.items():
        for value, expected in zip(found[name], one, strict=True):
            np.testing.assert_array_equal(value, expected)
    file.write({"old": kept(1)._replace(since=0.0)})
    assert file.read(60) == {}


def test_states_that_cannot_be_written_leave_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError("no space left on device")

    file = file_of_states(tmp_path / "sessions")
    file.write({"a": kept(1)})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        file.write({"b": kept(2)})
    assert [*file.read(60)] == ["a"]
    assert len([*tmp_path.iterdir()]) == 1


def refused(*options: str) -> str:
    """Return what a server says that does not start."""
    command = [sys.executable, str(FOLDER / "voice_server.py"), "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=HANG, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_files_that_are_no_states(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    file = file_of_states(path)
    file.write({"a": kept(1)})
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole[: len(whole) // 2], b"\xff" * 100, whole.replace(b'"F32"', b'"I32"')):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=re.escape(f"{path}: not a file of sessions: ")):
            file.read(60)
    path.write_bytes(whole[:-1])
    assert refused("--states", str(path)).startswith(f"voice_server.py: {path}: not a file of sessions: ")
    assert path.read_bytes() == whole[:-1]


def test_states_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    other = tmp_path / "weights"
    other.write_bytes(b"other weights")
    states.States(path, other, (1, 128), (64,)).write({"a": kept(1)})
    with pytest.raises(ValueError, match="has sessions of another network"):
        file_of_states(path).read(60)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    file_of_states(path).write({"a": kept(1)})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "in use" in refused("--states", str(path), "--port", port)
    assert path.exists()
    missing = tmp_path / "missing" / "sessions"
    assert refused("--states", str(missing)) == f"voice_server.py: {missing}: no such folder\n"
    assert "max_sessions must be greater than zero" in refused("--max-sessions", "0")


# --- the load test ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pins processes to cores")
def test_load() -> None:
    """That it runs and that answers are right; what it finds depends on the machine."""
    command = [sys.executable, str(FOLDER / "load.py"), "--sessions", "5", "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| ours \| 1 \| 5 \| \d+\.\d \| \d+\.\d \|$", done.stdout, re.MULTILINE)


def test_search_of_the_load_test() -> None:
    for most in (0, 1, 2, 99, 100, 101, 1234, load.MOST):
        tried: list[load.Trial] = []

        def run(sessions: int, most: int = most) -> load.Trial:
            return load.Trial(sessions, 0.0, 0.0 if sessions <= most else 1.0, 0.0, 1, 0)

        found = load.search(run, 100, tried.append)
        reached = 0 if found is None else found.sessions
        assert most - max(1, load.STEP * most) - 1 <= reached <= most
        assert len(tried) < 40


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_peers_compute_the_same_network(engine: str, windows: np.ndarray) -> None:
    pytest.importorskip(engine)
    if engine == "onnxruntime":
        pytest.importorskip("onnx")
    import peers

    call = peers.CALLS[engine]()
    h = c = np.zeros((1, peers.HIDDEN), np.float32)
    found = []
    for window in windows.astype(np.float32) / 32768:
        y, h, c = call(window[None], h, c)
        found.append(y[0])
    with np.load(silero.EXPECTED, allow_pickle=False) as expected:
        np.testing.assert_allclose(found, expected["speech_prob"], rtol=0, atol=1e-5)


# --- the page ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium")
def test_page_in_a_browser(server: Running) -> None:
    """The recording is played: the meter says when somebody speaks, and it fits a phone."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        browser.get(f"http://127.0.0.1:{server.port}/")
        wait = WebDriverWait(browser, HANG, poll_frequency=0.1)
        browser.find_element("id", "recording").click()
        wait.until(lambda b: b.find_element("id", "speech").text == "speech")
        assert float(browser.find_element("id", "meter").get_attribute("value")) > 0.35
        drawn = """
            const canvas = document.getElementById("history");
            return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(value => value);
        """
        assert browser.execute_script(drawn)
        wait.until(lambda b: b.find_element("id", "speech").text == "silence")
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= phone["width"]
        wait.until(lambda b: b.find_element("id", "recording").is_enabled())
        assert int(browser.find_element("id", "chunks").text) >= 180
        assert browser.find_element("id", "message").text == ""
        assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    server.wait_for(0)
