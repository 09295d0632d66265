"""Many clients at a time: slow ones, large ones, and several workers."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import torch

from cipherlens.inference import LENGTH_HEADER
from cipherlens.service import intake
from cipherlens.service.batching import Limits
from tests.service.conftest import SHAPE, add_up, running, serve_model
from tests.service.test_protocol import binary, post


def open_request(client: httpx.Client, images: np.ndarray) -> tuple[socket.socket, bytes]:
    """A connection on which the head of a request was sent, and the body that is to follow."""
    body, headers = binary(images)
    line = socket.create_connection(("127.0.0.1", client.base_url.port), timeout=20)
    head = f"POST /v2/models/sum/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    line.sendall(f"{head}{LENGTH_HEADER}: {headers[LENGTH_HEADER]}\r\n\r\n".encode())
    return line, body


def test_a_slow_client_is_given_up_and_delays_nobody(images: np.ndarray) -> None:
    body, headers = binary(images)
    with running(serve_model(), limits=Limits(seconds=1.0)) as client:
        lines = [open_request(client, images)[0] for _ in range(20)]
        started = time.perf_counter()
        for number in range(10):
            for line in lines:
                line.sendall(body[number : number + 1])
            assert post(client, body, headers=headers).status_code == 200
        assert time.perf_counter() - started < 1
        for line in lines:
            assert b" 504 " in line.recv(1 << 12)
            line.close()
        assert time.perf_counter() - started < 5


def test_bodies_have_so_much_room_together(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODIES", 2)
    body, headers = binary(images)
    with running(serve_model(), limits=Limits(body=len(body))) as client:
        lines = [open_request(client, images) for _ in range(2)]
        for line, content in lines:
            line.sendall(content[:-1])
        time.sleep(0.2)
        answer = post(client, body, headers=headers)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        lines[0][0].close()  # who leaves gives its room back
        time.sleep(0.2)
        assert post(client, body, headers=headers).status_code == 200
        lines[1][0].sendall(body[-1:])
        assert b" 200 " in lines[1][0].recv(1 << 12)
        lines[1][0].close()
        for _ in range(3):
            assert post(client, body, headers=headers).status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_compute_at_a_time(workers: int) -> None:
    """Two batches are computed together by two workers, each with half of the threads, and never by one."""
    together, threads = threading.Barrier(2), set[int]()

    def compute(batch: np.ndarray) -> np.ndarray:
        threads.add(torch.get_num_threads())
        try:
            together.wait(0.5)
        except threading.BrokenBarrierError:
            return np.zeros((len(batch), 2), np.float32)
        return add_up(batch)

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        images = np.ones((1, *SHAPE), np.float32)
        body, headers = binary(images)
        limits = Limits(batch=1, workers=workers)
        with running(serve_model(compute), limits=limits) as client, ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: post(client, body, headers=headers), range(2)))
    finally:
        torch.set_num_threads(before)
    assert threads == {4 // workers}
    found = [answer.json()["outputs"][0]["data"] for answer in answers]
    assert found == [[1, 2] if workers == 2 else [0, 0]] * 2
