"""The worker with real sockets: overload, signals, death."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

from indexer.config import Config
from tests.server.processes import children, running_server, wait_until_answering
from tests.server.sockets import FORM, answer, ask, head, metric, upload


def test_what_watches_the_server_does_not_wait_for_a_thread(
    demo_config: Config, photos: list[Path]
) -> None:
    """Of what waits in line before it, some still waits when it is answered."""
    form = FORM % photos[0].read_bytes()
    fields = head(len(form)).replace(b"application/json", b"multipart/form-data; boundary=b")
    settings = {"threads": 1, "max_waiting": 30}
    with running_server(demo_config, "/readyz", **settings) as (_, port):
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        for sock in socks:
            sock.sendall(fields + form)
        assert metric(port, "lookalike_requests_waiting") > 0
        for sock in socks:
            assert answer(sock).status == 200
            sock.close()


def test_beyond_capacity_the_answer_is_503_at_once_and_health_is_answered(
    demo_config: Config, photos: list[Path]
) -> None:
    """Forty clients ask two threads with two places in the queue."""
    settings = {"threads": 2, "max_waiting": 2, "max_encoding": 2}
    stop = threading.Event()
    with running_server(demo_config, "/readyz", **settings) as (_, port):
        image = photos[0].read_bytes()

        def client(_: int) -> Counter[int]:
            seen: Counter[int] = Counter()
            while not stop.is_set():
                status, answered = upload(port, image)
                seen[status] += 1
                assert status == 200 or answered["error"]["code"] == "overloaded"
            return seen

        with ThreadPoolExecutor(40) as pool:
            clients = [pool.submit(client, n) for n in range(40)]
            for _ in range(10):
                wait_until_answering(port)
            time.sleep(2)
            stop.set()
            total = sum((found.result() for found in clients), Counter())
        assert set(total) == {200, 503}
        assert total[503] > total[200], "whoever is refused asks again before others are answered"
        assert [upload(port, image)[0] for _ in range(3)] == [200] * 3


def test_stopping_answers_what_has_been_asked(demo_config: Config, photos: list[Path]) -> None:
    image = photos[0].read_bytes()
    with running_server(demo_config, "/readyz", threads=2, max_waiting=30) as (process, port):
        idle = socket.create_connection(("127.0.0.1", port))
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        form = FORM % image
        for sock in socks:
            fields = head(len(form)).replace(
                b"application/json", b"multipart/form-data; boundary=b"
            )
            sock.sendall(fields + form)
        assert answer(socks[0]).status == 200
        process.send_signal(signal.SIGTERM)
        statuses = [answer(sock).status for sock in socks[1:]]
        process.communicate(timeout=30)
        for sock in (idle, *socks):
            sock.close()
        assert statuses == [200] * 19
        assert process.returncode == 0


def test_a_worker_that_is_killed_under_load_is_replaced(demo_config: Config) -> None:
    with running_server(demo_config, "/readyz") as (process, port):
        stop = threading.Event()
        wrong: list[Any] = []

        def client(_: int) -> None:
            while not stop.is_set():
                try:
                    status, answered = ask(port)
                except (OSError, ValueError, HTTPException):  # the connection went with the worker
                    continue
                if status != 200 or len(answered["results"]) != 3:
                    wrong.append((status, answered))

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, n) for n in range(4)]
            (worker,) = children(process.pid)
            os.kill(worker, signal.SIGKILL)
            while children(process.pid) in ([], [worker]):
                time.sleep(0.05)
            wait_until_answering(port, "/readyz")
            assert ask(port)[0] == 200
            stop.set()
            for found in clients:
                found.result()
        assert wrong == []
