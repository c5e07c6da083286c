"""How many callers can the voice server hear?  A client for the load test, on the same machine.

    python load.py [--engine ours|torch|onnxruntime ...] [--cores 1|2 ...] [--sessions N]

Each caller sends a chunk every 32 ms, sometimes a little late, whether or not the last one has been answered.  An
answer's time counts from the moment its chunk was to be sent.  What is looked for is the greatest number of callers of
whom 99 of 100 answers are there before the next chunk is due.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import numpy as np
from front_end import CHUNK, BatchedNetwork
from silero_vad import SAMPLE_RATE, SPEECH, VoiceDetector, read_wav
from voice_server import allow_files

HERE = Path(__file__).resolve().parent
PROGRAMS = {"ours": ["voice_server.py"], "torch": ["peers.py", "torch"], "onnxruntime": ["peers.py", "onnxruntime"]}

PACE = CHUNK / SAMPLE_RATE
JITTER = 0.004
"""Seconds by which chunks are late, at most: a network's doing, and a part of the plan."""

LIMIT = PACE
"""Seconds in which 99 of 100 answers have to be there."""

SETTLING = 1.0
"""Seconds at the beginning of a trial that do not count."""

LATE = 0.002
"""Seconds by which the client may be behind its own plan, for 99 of 100 chunks; if it is, the trial says nothing."""

MOST = 8000
STEP = 0.03
"""The search ends when it knows the number to within this fraction."""

ANSWER = b"\x82\x04"
"""How the frame of an answer begins: binary, whole, 4 bytes."""


class Trial(NamedTuple):
    """What was found with some callers."""

    sessions: int
    median: float
    percentile: float
    """99 of 100 answers were there in as many seconds."""
    late: float
    """99 of 100 chunks were sent no later than so many seconds after their time."""
    answers: int
    missing: int
    """Chunks that had no answer when the trial ended."""

    @property
    def good(self) -> bool:
        """Whether the server was in time."""
        return not self.missing and self.percentile < LIMIT


def frames(chunks: np.ndarray) -> list[bytes]:
    """Return chunks (n, CHUNK) as a browser would send them: each in one frame, under a mask."""
    found = []
    for chunk in chunks:
        mask = random.randbytes(4)
        data = np.frombuffer(chunk.astype("<i2").tobytes(), np.uint8).reshape(-1, 4) ^ np.frombuffer(mask, np.uint8)
        found.append(struct.pack("!BBH", 0x82, 0x80 | 126, data.size) + mask + data.tobytes())
    return found


def connect(port: int) -> socket.socket:
    """Return a WebSocket that has been greeted."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(random.randbytes(16)).decode()
        lines = ["GET /listen HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        sock.sendall("\r\n".join(lines).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += _received(sock)
        head, _, data = data.partition(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            raise RuntimeError(f"the server said {head.splitlines()[0].decode()}")
        while len(data) < 2 or len(data) < 2 + data[1]:
            data += _received(sock)
        if data[0] != 0x81:  # not a text: the house is full
            raise RuntimeError(f"the server said {data[4:].decode(errors='replace')}")
        sock.setblocking(False)
        stack.pop_all()
        return sock


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(4096)
    if not data:
        raise RuntimeError("the server hung up")
    return data


class Caller:
    """One connection, and what it waits for."""

    __slots__ = ("answers", "due", "rest", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.due: list[float] = []
        """When each chunk so far was to be sent."""
        self.answers = bytearray()
        self.rest = b""

    def read(self) -> int:
        """Return how many answers have come."""
        data = self.rest + _received(self.sock)
        self.rest = b""
        if len(data) == 6 and data.startswith(ANSWER):  # nearly always
            self.answers += data[2:]
            return 1
        count = 0
        while len(data) >= 2 and len(data) >= 2 + data[1]:
            end = 2 + data[1]
            if data.startswith(ANSWER):
                self.answers += data[2:end]
                count += 1
            elif data[0] == 0x89:  # a ping, which wants a pong
                self.sock.send(bytes([0x8A, 0x80 | data[1], 0, 0, 0, 0]) + data[2:end])
            else:
                raise RuntimeError(f"the server sent {data[:end]!r}")
            data = data[end:]
        self.rest = data
        return count


def plan(sessions: int, seconds: float) -> list[tuple[float, int]]:
    """Return when each session is to send its next chunk, in the order of time."""
    rng = np.random.default_rng(sessions)
    count = int((SETTLING + seconds) / PACE)
    times = rng.uniform(0, PACE, (sessions, 1)) + np.arange(count) * PACE
    times += rng.uniform(0, JITTER, times.shape)
    order = np.argsort(times, axis=None)
    return list(zip(times.ravel()[order].tolist(), (order // count).tolist(), strict=True))


def trial(port: int, sessions: int, seconds: float, chunks: list[bytes], expected: bytes | None) -> Trial:
    """Have so many callers speak for some seconds.

    Parameters
    ----------
    chunks : list of bytes
        What each of them says, again and again.
    expected : bytes, optional
        The answers to it, if their bits are known.

    Raises
    ------
    RuntimeError
        If the server ends a connection, or answers wrongly.
    """
    with contextlib.ExitStack() as stack:
        callers = [Caller(stack.enter_context(connect(port))) for _ in range(sessions)]
        poll = stack.enter_context(select.epoll())
        by_file = {caller.sock.fileno(): caller for caller in callers}
        for file in by_file:
            poll.register(file, select.EPOLLIN)
        delays: list[float] = []
        late: list[float] = []
        schedule = plan(sessions, seconds)
        begin = perf_counter() + 0.05
        counted = begin + SETTLING
        end = begin + schedule[-1][0] + 1  # for those who still wait
        total, received, number = len(chunks), 0, 0
        while received < len(schedule):
            now = perf_counter()
            while number < len(schedule) and begin + schedule[number][0] <= now:
                due, session = begin + schedule[number][0], schedule[number][1]
                caller = callers[session]
                if caller.sock.send(chunks[len(caller.due) % total]) < len(chunks[0]):
                    raise RuntimeError("the server does not read")
                caller.due.append(due)
                now = perf_counter()
                late.append(now - due)
                number += 1
            if now > end:
                break
            wait = begin + schedule[number][0] - now if number < len(schedule) else 0.01
            for file, _ in poll.poll(max(wait, 0)):
                caller = by_file[file]
                first = len(caller.answers) // 4
                count = caller.read()
                now = perf_counter()
                received += count
                delays += [now - due for due in caller.due[first : first + count] if due >= counted]
        for caller in callers:
            if expected is not None and bytes(caller.answers) != expected[: len(caller.answers)]:
                raise RuntimeError("the server's answers have other bits than a network alone")
    missing = len(schedule) - received
    delays += [np.inf] * missing
    median, percentile = np.quantile(delays, (0.5, 0.99), method="higher")
    return Trial(sessions, median, percentile, float(np.quantile(late, 0.99)), received, missing)


def search(run: Callable[[int], Trial], start: int, report: Callable[[Trial], None]) -> Trial | None:
    """Return the trial of the most callers for whom the server was in time; it has two tries with each number."""
    best, bad, sessions = None, MOST + 1, start
    while True:
        for _ in range(2):
            found = run(sessions)
            report(found)
            if found.good:
                break
        if found.good:
            best = found
        else:
            bad = sessions
        low = best.sessions if best else 0
        if bad - low <= max(1, STEP * bad):
            return best
        sessions = min(2 * low, MOST) if bad > MOST else (low + bad) // 2
        if sessions in (low, 0):
            return best


def wait_until_empty(port: int) -> None:
    """Wait until the callers of the last trial have hung up."""
    for _ in range(600):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
            if json.load(answer)["sessions"] == 0:
                return
        sleep(0.05)
    raise RuntimeError("the server keeps sessions whose callers are gone")


@contextlib.contextmanager
def server(engine: str, cores: set[int], sessions: int) -> Iterator[int]:
    """Run a server on some cores, and give its port."""
    program, *words = PROGRAMS[engine]
    command = [sys.executable, str(HERE / program), *words, "--port", "0", "--max-sessions", str(sessions)]
    if engine != "ours":  # which has a thread that computes in any case
        command += ["--threads", str(len(cores))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, cores)  # its threads come later, and inherit it
        try:
            assert process.stdout is not None
            address = process.stdout.readline()
            if not address or process.stdout.readline() != "ready\n":
                raise RuntimeError(f"the server with {engine} did not start")
            yield int(address.rstrip("/\n").rpartition(":")[2])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Find how many callers the voice server can hear in time.")
    parser.add_argument("--engine", nargs="+", choices=PROGRAMS, default=["ours"])
    parser.add_argument("--cores", nargs="+", type=int, choices=(1, 2), default=[1], help="of the server")
    parser.add_argument("--sessions", type=int, metavar="N", help="only try so many callers")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each trial")
    parser.add_argument("--start", type=int, default=100, metavar="N", help="callers to begin the search with")
    options = parser.parse_args(arguments)
    allow_files(MOST + 100)
    chunks = read_wav(SPEECH)
    chunks = (np.pad(chunks, (0, -chunks.size % CHUNK)) * 32768).astype("<i2").reshape(-1, CHUNK)
    said = frames(chunks)
    repeats = int(options.seconds + SETTLING) // int(len(chunks) * PACE) + 2
    detector = VoiceDetector(BatchedNetwork())
    known = detector.push(np.tile(chunks.ravel(), repeats).astype(np.float32) / 32768).tobytes()
    first, *more = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {more[0] if more else first})
    gc.disable()

    def report(found: Trial) -> None:
        flag = "" if found.good else "  too slow" if found.late < LATE else "  the client was late, too"
        print(
            f"  {found.sessions} callers: median {1e3 * found.median:.1f} ms, 99 % in {1e3 * found.percentile:.1f} ms, "
            f"sent {1e3 * found.late:.1f} ms late{flag}",
            flush=True,
        )

    table = ["| engine | cores | callers | median ms | 99 % in ms |", "| --- | ---: | ---: | ---: | ---: |"]
    for cores in options.cores:
        for engine in options.engine:
            print(f"{engine}, {cores} core(s)", flush=True)
            where = {first, *more[: cores - 1]}
            with server(engine, where, options.sessions or MOST) as port:

                def run(sessions: int, port: int = port, engine: str = engine) -> Trial:
                    wait_until_empty(port)
                    return trial(port, sessions, options.seconds, said, known if engine == "ours" else None)

                if options.sessions:
                    best = run(options.sessions)
                    report(best)
                else:
                    best = search(run, options.start, report)
            row = (best.sessions, f"{1e3 * best.median:.1f}", f"{1e3 * best.percentile:.1f}") if best else (0, "", "")
            table.append(f"| {engine} | {cores} | {' | '.join(map(str, row))} |")
    print("\n".join(["", *table]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
