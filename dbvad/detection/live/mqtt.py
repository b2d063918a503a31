"""MQTT: events, and each camera's state as a retained message with a last will. The one door to paho."""

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from dbvad.detection.live.deliver import ANSWER_S, Undelivered
from dbvad.detection.live.journal import Line
from dbvad.detection.live.watch import Watch

PREFIX = "dbvad"
OFFLINE, ONLINE = "offline", "online"
PORTS = {"mqtt": 1883, "mqtts": 8883}


class Mqtt:
    """A receiver: events go to PREFIX/events with QoS 1. PREFIX/status is `online`, or `offline` by the last will;
    PREFIX/CAMERA/state is what the camera is (live, waiting, ...). Both are retained."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        """`address`: mqtt://[user:password@]host[:port][/prefix], or mqtts. `say`: a line for the operator, from
        another thread. Raises ValueError."""
        parts = urlsplit(address)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("no MQTT address: write mqtt://host[:port][/prefix] or mqtts://...")
        port = parts.port or PORTS[parts.scheme]
        self.address, self.name, self.prefix = address, f"{parts.hostname}:{port}", parts.path.strip("/") or PREFIX
        self._say, self._said = say, ""
        self._states: dict[str, str] = {}
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311)
        self._client.will_set(f"{self.prefix}/status", OFFLINE, qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = lambda *_: self._tell_once("cannot be reached")
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._lock = threading.Lock()
        self._client.connect_async(parts.hostname, port, keepalive=30)
        self._client.loop_start()

    def __call__(self, line: Line) -> None:
        if not self._client.is_connected():
            raise Undelivered("not connected")
        sent = self._client.publish(f"{self.prefix}/events", json.dumps(line, ensure_ascii=False), qos=1)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Undelivered("not connected")
        sent.wait_for_publish(ANSWER_S)
        if not sent.is_published():
            raise Undelivered("no answer")

    def states(self, watch: Watch) -> None:
        """Tell the states that have changed."""
        for feed in watch.feeds:
            name, state = feed.source.name, str(feed.source.state)
            if self._states.get(name) != state:
                with self._lock:
                    self._states[name] = state
                self._tell(name, state)

    def stop(self) -> None:
        """Say goodbye: the last will is for those who cannot."""
        if self._client.is_connected():
            self._client.publish(f"{self.prefix}/status", OFFLINE, qos=1, retain=True).wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()

    def _tell_once(self, fault: str) -> None:
        if fault != self._said:
            self._said = fault
            self._say(f"MQTT broker {self.name}: {f'{fault}; tried again until it is there' if fault else 'is there'}")

    def _connected(self, client: Client, data: Any, flags: Any, reason: Any, more: Any) -> None:
        """Anew after each loss: what is retained may have been changed by the will."""
        if reason.is_failure:
            self._tell_once(f"refused ({str(reason).lower()})")
            return
        self._tell_once("")
        self._client.publish(f"{self.prefix}/status", ONLINE, qos=1, retain=True)
        with self._lock:
            states = dict(self._states)
        for name, state in states.items():
            self._tell(name, state)

    def _tell(self, name: str, state: str) -> None:
        if self._client.is_connected():
            self._client.publish(f"{self.prefix}/{name}/state", state, qos=1, retain=True)
