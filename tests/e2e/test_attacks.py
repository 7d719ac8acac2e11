"""Every attack by name, on a collector process behind a real broker: kept as evidence, never counted, and nothing genuine is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from protocol.payloads import State
from protocol.topics import Up, Window
from tests.attacks import ATTACKS, OTHER_WINDOW, cloned_key_that_goes_on
from tests.brokers import mosquitto_available, start_mosquitto
from tests.chains import EPOCH_MS, OTHER_KEY, WINDOW, PaperDevice
from tests.e2e.test_collector_brokers import ROOT, Agent, Collector, write_config
from tests.hall import eventually

pytestmark = pytest.mark.e2e
_numbers = count(1)


class Scene:
    """A collector under attack, and what it says of one device."""

    def __init__(self, collector: Collector, agent: Agent) -> None:
        self.collector = collector
        self.agent = agent

    def _pages(self, what: str) -> Iterator[Any]:
        after = 0
        while True:
            page = httpx.get(f"{self.collector.url}/api/v1/{what}?after={after}&limit=1000", trust_env=False).json()
            if not page["items"]:
                return
            yield from page["items"]
            after = page["next"]

    def evidence(self) -> list[Any]:
        return list(self._pages("evidence"))

    def ratings(self, device: PaperDevice) -> dict[int, tuple[str, str]]:
        """Level and place of each rating of a device, by number."""
        return {one["seq"]: (one["level"], one["place"]) for one in self._pages("ratings") if one["device"] == device.device}

    def gaps(self, device: PaperDevice) -> list[tuple[int, int | None]]:
        items = httpx.get(f"{self.collector.url}/api/v1/gaps", trust_env=False).json()["items"]
        return [(gap["first_seq"], gap["last_seq"]) for gap in items if gap["device"] == device.device]

    def whole_until(self, device: PaperDevice) -> int:
        return next((one["next_seq"] for one in self.collector.summary()["devices"] if one["device"] == device.device), 0)

    def status(self) -> str:
        """What `collector status` prints."""
        command = [sys.executable, "-m", "collector", "status", "--config", str(self.collector.config)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if not mosquitto_available():
        pytest.skip("mosquitto is not installed")
    folder = tmp_path_factory.mktemp("attacks")
    broker = start_mosquitto(folder / "broker")
    config = write_config(folder / "collector", broker, "3.1.1")
    (folder / "collector" / "erting.key").write_text(OTHER_KEY.hex())
    (folder / "collector" / "erting.key").chmod(0o600)
    config.write_text(config.read_text() + '[halls."533103/erting"]\nkey_file = "erting.key"\n')
    collector = Collector(config)
    try:
        collector.start()
        agent = Agent(broker)
        try:
            yield Scene(collector, agent)
        finally:
            agent.close()
    finally:
        collector.kill()
        broker.stop()


@pytest.fixture
def device() -> PaperDevice:
    """A device that no other test uses; what it has written is genuine."""
    made = PaperDevice(f"A-{next(_numbers)}")
    made.write_many(4)
    return made


def publish(scene: Scene, device: PaperDevice, *numbers: int) -> None:
    scene.agent.publish([device.message(record) for record in device.written if record.seq in numbers])


def expected(device: PaperDevice) -> dict[int, tuple[str, str]]:
    return {record.seq: (record.rating.word, WINDOW.path) for record in device.written if record.rating is not None}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(scene: Scene, device: PaperDevice, name: str) -> None:
    attack = ATTACKS[name]
    publish(scene, device, 1, 2)
    before = {item["id"] for item in scene.evidence()}
    counted = scene.collector.summary()
    messages = attack.make(device)
    scene.agent.publish(messages)
    publish(scene, device, 3, 4)
    eventually("genuine records are receipted", lambda: scene.whole_until(device) == 5)
    new = [item for item in scene.evidence() if item["id"] not in before]
    assert {(item["kind"], item["seq"]) for item in new} == {(kind.value, seq) for kind, seq in attack.evidence}
    assert all(item["device"] == (device.device if attack.names_device else None) for item in new)
    assert all(item["topic"] or item["place"] for item in new)
    assert scene.ratings(device) == expected(device)
    assert scene.gaps(device) == []
    for kind, _ in attack.evidence:
        assert counts(scene)[kind.value] > counted["evidence"].get(kind.value, 0)
    if attack.counted_as:
        before_it = counted["ingest"].get(attack.counted_as, 0)
        eventually("it is counted", lambda: scene.collector.summary()["ingest"].get(attack.counted_as, 0) > before_it)


def counts(scene: Scene) -> dict[str, int]:
    """Evidence by kind, from the summary that `collector status` prints."""
    return dict(scene.collector.summary()["evidence"])


def test_the_status_command_tells_the_evidence(scene: Scene, device: PaperDevice) -> None:
    publish(scene, device, 1, 2)
    scene.agent.publish(ATTACKS["altered_level"].make(device) + ATTACKS["swapped_staff_beside_the_record"].make(device))
    publish(scene, device, 3, 4)
    eventually("genuine records are receipted", lambda: scene.whole_until(device) == 5)
    told = scene.status().partition("Evidence:")[2].partition("Since start")[0]
    for kind in ("wrong_key", "altered"):
        assert f"{kind} {counts(scene)[kind]}" in " ".join(told.split())


def test_attack_removed_record(scene: Scene, device: PaperDevice) -> None:
    publish(scene, device, 1, 2, 4)
    eventually("the gap is named", lambda: scene.gaps(device) == [(3, 3)])
    eventually("the device keeps 3 and 4", lambda: scene.whole_until(device) == 3)  # the summary is up to a quarter second old
    publish(scene, device, 3)
    eventually("the gap is closed", lambda: scene.whole_until(device) == 5)
    assert scene.gaps(device) == []
    assert scene.ratings(device) == expected(device)


def test_attack_reordered_delivery(scene: Scene, device: PaperDevice) -> None:
    publish(scene, device, 4)
    publish(scene, device, 2)
    publish(scene, device, 3)
    publish(scene, device, 1)
    eventually("the order is that of the numbers", lambda: scene.whole_until(device) == 5)
    assert scene.ratings(device) == expected(device)
    assert scene.gaps(device) == []


def test_attack_cloned_key_with_a_history_of_its_own(scene: Scene, device: PaperDevice) -> None:
    genuine = device.write(level=1)
    publish(scene, device, 1, 2, 3, 4, 5)
    scene.agent.publish(cloned_key_that_goes_on(device))
    eventually("the break is named", lambda: _about(scene, device) == [("broken_chain", 6)])
    assert genuine.seq == 5
    eventually("no receipt runs over the break", lambda: scene.whole_until(device) == 6)
    assert {seq: scene.ratings(device)[seq] for seq in expected(device)} == expected(device)


def _about(scene: Scene, device: PaperDevice) -> list[tuple[str, int]]:
    return [(item["kind"], item["seq"]) for item in scene.evidence() if item["device"] == device.device]


def test_attack_replayed_first_at_another_window(scene: Scene, device: PaperDevice) -> None:
    # the window is not signed: a record is booked to the window whose agent brings it first, and counts once
    scene.agent.publish([device.message(device.written[0], window=OTHER_WINDOW)])
    scene.agent.publish([device.message(device.written[1], window=OTHER_WINDOW)])
    publish(scene, device, 1, 2, 3, 4)
    eventually("all are stored", lambda: scene.whole_until(device) == 5)
    places = {seq: place for seq, (_, place) in scene.ratings(device).items()}
    assert places == {2: OTHER_WINDOW.path, 3: WINDOW.path, 4: WINDOW.path}


def state(session: str, online: bool, since_s: int) -> bytes:
    return State(session=session * 32, online=online, since_ms=EPOCH_MS + since_s * 1000, agent="1.0").to_json()


def test_attack_late_and_forged_wills(scene: Scene, device: PaperDevice) -> None:
    window = Window("533103", "dating", "31")

    def online() -> Any:
        return next((one["online"] for one in scene.collector.summary()["windows"] if one["place"] == window.path), None)

    topic = window.up(Up.STATE)
    scene.agent.publish([(topic, state("a", True, 1)), (topic, state("b", True, 10))])
    eventually("the window is there", lambda: online() is True)
    stale = scene.collector.summary()["ingest"].get("stale_state", 0)
    scene.agent.publish([(topic, state("a", False, 1)), (topic, state("c", False, 5))])
    eventually("late wills are counted", lambda: scene.collector.summary()["ingest"].get("stale_state", 0) == stale + 2)
    assert online() is True
    scene.agent.publish([(topic, state("d", False, 99))])
    eventually("a forged will is believed", lambda: online() is False)
    scene.agent.publish([(topic, state("b", True, 10))])
    publish(scene, device, 1, 2, 3, 4)
    eventually("ratings do not mind", lambda: scene.whole_until(device) == 5)
    assert scene.ratings(device) == expected(device)


def test_attack_garbage_on_state_and_health(scene: Scene, device: PaperDevice) -> None:
    before = scene.collector.summary()["evidence"].get("malformed", 0)
    bad = [b"", b"\xff\xfe", b'{"session":1}', b"[" * 10_000, b"null"]
    scene.agent.publish([(WINDOW.up(up), payload) for up in (Up.STATE, Up.HEALTH) for payload in bad])
    publish(scene, device, 1, 2, 3, 4)
    eventually("genuine records are receipted", lambda: scene.whole_until(device) == 5)
    assert scene.collector.summary()["evidence"]["malformed"] == before + 2 * len(bad)
