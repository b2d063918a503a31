"""MQTT with a real broker: events arrive, states are retained, the last will speaks for a watch that died."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqtt.broker import Broker
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from dbvad.detection.live.deliver import Delivery, Undelivered
from dbvad.detection.live.journal import Journal
from dbvad.detection.live.mqtt import Mqtt
from dbvad.detection.live.source import State
from tests.live.faults import free_port, until


@pytest.fixture
def port() -> Iterator[int]:
    port, loop, ready = free_port(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> Broker:
        broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
                         "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}})
        await broker.start()
        ready.set()
        return broker

    def run() -> None:
        broker = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(broker.shutdown())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    yield port
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


@pytest.fixture
def heard(port: int) -> Iterator[list[tuple[str, str, bool]]]:
    """What a subscriber hears: (topic, payload, retained)."""
    found: list[tuple[str, str, bool]] = []
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _, __, message: found.append((message.topic, message.payload.decode(), message.retain))
    client.on_connect = lambda *_: client.subscribe("house/#", qos=1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    yield found
    client.disconnect()
    client.loop_stop()


def cameras(**states: State) -> Any:
    return SimpleNamespace(feeds=[SimpleNamespace(source=SimpleNamespace(name=name, state=state))
                                  for name, state in states.items()])


def test_events_and_states(tmp_path: Path, port: int, heard: list[tuple[str, str, bool]]) -> None:
    mqtt, journal = Mqtt(f"mqtt://127.0.0.1:{port}/house", print), Journal(tmp_path)
    delivery = Delivery(journal, mqtt, tmp_path, print, first_pause_s=0.05)
    mqtt.states(cameras(gate=State.WAITING))
    until(lambda: ("house/status", "online") in [item[:2] for item in heard])
    mqtt.states(cameras(gate=State.LIVE))
    line = journal.add(kind="begin", id="a", camera="gate")
    until(lambda: ("house/events", json.dumps(line), False) in heard)
    until(lambda: [payload for topic, payload, _ in heard if topic == "house/gate/state"][-1:] == ["live"])
    until(lambda: not delivery.waiting)
    delivery.stop()
    mqtt.stop()
    until(lambda: [payload for topic, payload, _ in heard if topic == "house/status"][-1] == "offline")


def test_the_last_will(port: int, heard: list[tuple[str, str, bool]]) -> None:
    mqtt = Mqtt(f"mqtt://127.0.0.1:{port}/house", print)
    until(lambda: ("house/status", "online") in [item[:2] for item in heard])
    mqtt._client.loop_stop()
    mqtt._client.socket().close()
    until(lambda: [payload for topic, payload, _ in heard if topic == "house/status"][-1] == "offline")


def test_without_a_broker_nothing_is_taken_and_it_is_said_once() -> None:
    said: list[str] = []
    mqtt = Mqtt(f"mqtt://127.0.0.1:{free_port()}", said.append)
    with pytest.raises(Undelivered):
        mqtt({"id": "a", "seq": 1})
    until(lambda: said)
    mqtt.stop()
    assert [line.partition(": ")[2] for line in said] == ["cannot be reached; tried again until it is there"]


def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="mqtt://host"):
        Mqtt("http://house", print)
