"""Measure how fast webhooks are acknowledged: 10 kB signed deliveries, each with its own guid, by 1 to 64 clients."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import psycopg

import migrations
from bench.table import Figure, percentile, print_figures, spread, timed
from tests.servers import Postgres, free_port

SECRET = "a benchmark's secret"
CLIENTS = (1, 8, 32, 64)
SECONDS = 4.0
ROOT = Path(__file__).parents[1]
PEER = "packit-service: 560 req/s, p50 54 ms, p99 188 ms at 32 clients (measured elsewhere)"


def _body() -> bytes:
    release = {"tag_name": "v1.30.1", "draft": False, "prerelease": False, "body": "x" * 9500}
    return json.dumps(
        {"action": "published", "release": release, "repository": {"full_name": "cri-o/cri-o"}}
    ).encode()


BODY = _body()
SIGNATURE = "sha256=" + hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


def _request(path: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\nX-GitHub-Event: release\r\nX-GitHub-Delivery: {uuid.uuid4()}\r\n"
        f"X-Hub-Signature-256: {SIGNATURE}\r\n\r\n"
    )
    return head.encode() + BODY


async def _client(port: int, path: str, until: float, samples: list[float], odd: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        request = _request(path)
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                await reader.readexactly(int(line.split(b":")[1]))
        samples.append(time.perf_counter() - started)
        if status not in (202, 204):
            odd.append(status)
    writer.close()


async def _all(port: int, path: str, clients: int, samples: list[float], odd: list[int]) -> None:
    until = time.perf_counter() + SECONDS
    await asyncio.gather(*(_client(port, path, until, samples, odd) for _ in range(clients)))


def _attack(
    port: int, path: str, clients: int, queue: multiprocessing.Queue[tuple[list[float], list[int]]]
) -> None:
    samples: list[float] = []
    odd: list[int] = []
    asyncio.run(_all(port, path, clients, samples, odd))
    queue.put((samples, odd))


def _load(port: int, path: str, clients: int) -> str:
    """Run the clients in a process of their own; return requests per second and latencies as text."""
    queue: multiprocessing.Queue[tuple[list[float], list[int]]] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_attack, args=(port, path, clients, queue))
    process.start()
    samples, odd = queue.get(timeout=SECONDS * 10)
    process.join()
    wrong = f", {len(odd)} other answers" if odd else ""
    rate = len(samples) / SECONDS
    return (
        f"{rate:.0f} req/s, p50 {percentile(samples, 0.5) * 1000:.1f} ms, "
        f"p99 {percentile(samples, 0.99) * 1000:.1f} ms{wrong}"
    )


class Server:
    """A uvicorn server in its own process, as in production: one process, uvloop, httptools."""

    def __init__(self, app: str, *options: str, **environment: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "uvicorn", app, "--port", str(self.port), "--log-level", "error",
                   "--no-access-log", *options]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> int:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                asyncio.run(_one(self.port))
                return self.port
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the server did not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


async def _one(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


def _service(database_url: str, state: Path) -> Server:
    return Server(
        "service.web.app:create_app",
        "--factory",
        CRYOPACK_DATABASE_URL=database_url,
        CRYOPACK_GITHUB_WEBHOOK_SECRETS=SECRET,
        # Nobody listens there: hints are dropped, as with a broker that is down.
        CRYOPACK_BROKER_URL="redis://127.0.0.1:1/0",
        CRYOPACK_STATE_DIR=str(state),
    )


def _answers(kind: str, url: str, state: Path, bare: Mapping[int, str]) -> list[Figure]:
    """Measure the service on one database, beside the bare answers by number of clients."""
    with _service(url, state) as port:
        return [
            Figure(f"{kind}, {n} clients", _load(port, "/webhooks/github", n), f"bare ASGI: {bare[n]}")
            for n in CLIENTS
        ]


def _postgres_floor(url: str) -> str:
    with psycopg.connect(
        url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True
    ) as connection:
        connection.execute("CREATE TABLE floor (guid text PRIMARY KEY, payload bytea)")

        def insert() -> None:
            connection.execute("INSERT INTO floor VALUES (%s, %s)", (str(uuid.uuid4()), BODY))

        return spread(timed(insert, rounds=500))


def _sqlite_floor(folder: Path) -> str:
    connection = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE floor (guid text PRIMARY KEY, payload blob)")

    def insert() -> None:
        connection.execute("INSERT INTO floor VALUES (?, ?)", (str(uuid.uuid4()), BODY))

    return spread(timed(insert, rounds=500))


def run() -> None:
    """Measure and print."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="cryopack-bench-") as folder:
        state = Path(folder)
        with Server("bench.bare:app") as port:
            bare = {n: _load(port, "/", n) for n in CLIENTS}
        postgres = Postgres(durable=True)
        postgres.start()
        try:
            url = postgres.url(postgres.new_database())
            migrations.upgrade(url)
            floor = _postgres_floor(url)
            figures += _answers("PostgreSQL", url, state, bare)
            figures.append(
                Figure("one fsynced insert, psycopg, 1 client", floor, "the floor of a durable answer")
            )
        finally:
            postgres.stop()
        url = f"sqlite:///{state}/bench.sqlite"
        migrations.upgrade(url)
        floor = _sqlite_floor(state)
        figures += _answers("SQLite", url, state, bare)
        figures.append(Figure("one synced insert, sqlite3, 1 client", floor, "the floor of a durable answer"))
    figures.append(Figure("the nearest peer", PEER))
    print_figures("Webhook acknowledgement (10 kB, HMAC checked, durable before 202)", figures)
