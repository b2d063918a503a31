"""Deliveries: signed, in order, at least once, whatever the receiver does."""

import hashlib
import hmac
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbvad.detection.live.deliver import Delivery, Webhook
from dbvad.detection.live.journal import Journal
from tests.live.faults import Receiver, receiving, until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def deliver(folder: Path, receiver: Receiver, said: list[str]) -> tuple[Journal, Delivery]:
    journal = Journal(folder)
    return journal, Delivery(journal, Webhook(receiver.url, "secret"), folder, said.append, first_pause_s=0.02)


def numbers(receiver: Receiver) -> list[int]:
    return [line["seq"] for line in receiver.lines()]


def test_a_line_arrives_signed(tmp_path: Path, receiver: Receiver) -> None:
    journal, delivery = deliver(tmp_path, receiver, [])
    journal.add(kind="begin", id="abc", camera="gate")
    headers, body = until(lambda: receiver.got)[0]
    expected = hmac.new(b"secret", headers["x-dbvad-timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["x-dbvad-signature"] == f"sha256={expected}"
    assert headers["x-dbvad-delivery"] == "abc-1"
    assert abs(time.time() - int(headers["x-dbvad-timestamp"])) < 10
    delivery.stop()


def test_a_receiver_that_is_down_and_back_gets_all_in_order_once(tmp_path: Path, receiver: Receiver) -> None:
    said: list[str] = []
    journal, delivery = deliver(tmp_path, receiver, said)
    journal.add(id="a")
    until(lambda: numbers(receiver) == [1])
    receiver.stop()
    for _ in range(3):
        journal.add(id="a")
    until(lambda: delivery.down)
    assert delivery.waiting == 3
    receiver.start()
    until(lambda: numbers(receiver) == [1, 2, 3, 4])
    until(lambda: not delivery.waiting)
    delivery.stop()
    assert len(said) == 2  # down, and back
    assert "geheim" not in " ".join(said)


def test_what_was_not_taken_goes_out_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = 503
    journal, delivery = deliver(tmp_path, receiver, [])
    journal.add(id="a")
    until(lambda: delivery.tries)
    delivery.stop()
    receiver.answer = 200
    journal, delivery = deliver(tmp_path, receiver, [])
    journal.add(id="b")
    until(lambda: numbers(receiver) == [1, 2])
    delivery.stop()


def test_a_line_that_is_refused_holds_up_no_other(tmp_path: Path, receiver: Receiver) -> None:
    said: list[str] = []
    receiver.answer = 400
    journal, delivery = deliver(tmp_path, receiver, said)
    journal.add(id="a")
    until(lambda: delivery.refused)
    receiver.answer = 200
    journal.add(id="b")
    until(lambda: numbers(receiver) == [2])
    delivery.stop()
    assert said == [f"127.0.0.1:{receiver.port} refuses an event (it answers 400); said once, counted from now on"]


def test_a_redirect_is_not_followed(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = 302
    journal, delivery = deliver(tmp_path, receiver, [])
    journal.add(id="a")
    until(lambda: delivery.refused)
    delivery.stop()


def test_a_new_receiver_gets_what_comes_from_now_on(tmp_path: Path, receiver: Receiver) -> None:
    Journal(tmp_path).add(id="old")
    journal, delivery = deliver(tmp_path, receiver, [])
    journal.add(id="new")
    until(lambda: numbers(receiver) == [2])
    delivery.stop()
