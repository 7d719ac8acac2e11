"""What is really published is what docs/mqtt/asyncapi.json says: every message of a day at a window, on real brokers."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

import collector.cli
from protocol.signing import derive_remote_key
from tests.brokers import Broker, start_mosquitto, start_nats
from tests.chains import HALL_KEY, WINDOW
from tests.hall import DEVICE, ROOT, Hall, eventually

pytestmark = pytest.mark.e2e

DOCUMENT = json.loads((ROOT / "docs" / "mqtt" / "asyncapi.json").read_text(encoding="utf-8"))
WITHIN_S = 40.0


def validator(name: str) -> jsonschema_rs.Validator:
    """A validator of the one message of a channel."""
    ((message, _),) = DOCUMENT["channels"][name]["messages"].items()
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/components/schemas/{message}", "components": DOCUMENT["components"]})


def pattern(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(address)))


CHANNELS = {name: pattern(channel["address"]) for name, channel in DOCUMENT["channels"].items()}


class Listener:
    """Hears everything at a broker."""

    def __init__(self, port: int) -> None:
        self.heard: list[MQTTMessage] = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("hcp/#", 1)
        self._client.on_message = lambda _client, _data, message: self.heard.append(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def by_channel(self) -> dict[str, list[MQTTMessage]]:
        found: defaultdict[str, list[MQTTMessage]] = defaultdict(list)
        for message in list(self.heard):
            names = [name for name, shape in CHANNELS.items() if shape.fullmatch(message.topic)]
            assert len(names) == 1, message.topic
            found[names[0]].append(message)
        return found


@pytest.mark.parametrize("start_broker", [start_nats, start_mosquitto])
def test_every_message_of_a_window_is_as_documented(tmp_path: Path, start_broker: Callable[[Path], Broker]) -> None:
    remote = '[remote]\nkey_file = "remote.key"\n'
    with Hall(tmp_path / "hall", start_broker(tmp_path / "broker"), agent_more=remote) as hall:
        (tmp_path / "hall" / "remote.key").write_text(derive_remote_key(HALL_KEY, WINDOW).hex())
        listener = Listener(hall.broker.port)
        try:
            hall.start()
            asked = ["ask", WINDOW.path, "status", "-c", str(hall.collector.config)]
            assert CliRunner().invoke(collector.cli.app, asked, catch_exceptions=False).exit_code == 0
            hall.ask("PUT", "/v1/staff", json={"staff": "017"})
            case = {"case_no": "C-1", "item_name": "户口登记", "applicant_ref": "a-1", "service_no": "2", "dept_code": "D"}
            evaluation = hall.ask("POST", "/v1/evaluations", json={"case": case}).json()["id"]
            hall.device.press(1)
            assert hall.ended(evaluation) == "rated"
            hall.device.press(4)
            rating = eventually("the free rating is here", lambda: hall.ask("GET", "/v1/free-ratings").json())[0]
            assert (
                hall.ask("PUT", f"/v1/free-ratings/{DEVICE}/{rating['seq']}/case", json={"case_no": "L-1"}).status_code == 200
            )
            hall.device.unplug()
            eventually("an absence is heard", lambda: any(one.topic.endswith("up/absence") for one in list(listener.heard)))
            hall.device.plug_in()
            hall.await_talking()
            hall.agent.kill()  # and the broker publishes its will
            eventually("the will is heard", lambda: any(b'"online":false' in one.payload for one in list(listener.heard)))
            hall.agent.start()
            hall.await_released()
            eventually("every channel is heard", lambda: set(listener.by_channel()) == set(CHANNELS), WITHIN_S)
        finally:
            listener.close()
    for name, messages in listener.by_channel().items():
        checks, bindings = validator(name), DOCUMENT["operations"][name]["bindings"]["mqtt"]
        for message in messages:
            checks.validate(json.loads(message.payload))
            assert message.qos == bindings["qos"], message.topic


def test_what_is_retained_is_what_the_document_calls_retained(tmp_path: Path) -> None:
    with Hall(tmp_path / "hall", start_mosquitto(tmp_path / "broker")) as hall:
        hall.start()
        hall.device.press(1)
        hall.await_released()
        late = Listener(hall.broker.port)
        eventually("the state is there at once", lambda: late.heard)
        time.sleep(0.5)  # nothing more can be waited for: what is not retained must not come
        kept = {name for name, messages in late.by_channel().items() if any(message.retain for message in messages)}
        late.close()
    documented = {name for name, one in DOCUMENT["operations"].items() if one["bindings"]["mqtt"]["retain"]}
    assert kept == documented


def test_its_examples_are_valid_and_its_references_lead_somewhere() -> None:
    def follow(reference: str) -> Any:
        at: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]
        return at

    for reference in re.findall(r'"\$ref": "(#/[^"]+)"', json.dumps(DOCUMENT)):
        follow(reference)
    for name, channel in DOCUMENT["channels"].items():
        for reference in channel["messages"].values():
            for example in follow(reference["$ref"])["examples"]:
                validator(name).validate(example["payload"])
    assert {name: one["action"] for name, one in DOCUMENT["operations"].items()} == {
        name: "send" if name.startswith("up_") else "receive" for name in DOCUMENT["channels"]
    }
