"""Forged receipts on a running hall: the agent must not forget, nor the device release, what is not collected."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import paho.mqtt.publish as once
import pytest

from protocol.payloads import ReceiptPayload
from protocol.record import parse_record
from protocol.topics import Down
from tests.brokers import mosquitto_available, start_mosquitto
from tests.chains import WINDOW
from tests.hall import DEVICE, Hall, eventually

pytestmark = pytest.mark.e2e


def forged_for_the_last_record(hall: Hall) -> ReceiptPayload:
    """A receipt as the PC's administrator can make one: everything right but the signature."""
    with sqlite3.connect(hall.data_dir / "agent.db") as database:
        (raw,) = database.execute("SELECT raw FROM records ORDER BY seq DESC LIMIT 1").fetchone()
    database.close()
    record = parse_record(raw)
    return ReceiptPayload(device=DEVICE, next_seq=record.seq + 1, record_mac=record.mac.hex(), issued_ms=1, mac="5a" * 16)


def test_attack_forged_receipt(tmp_path: Path) -> None:
    if not mosquitto_available():
        pytest.skip("mosquitto is not installed")
    with Hall(tmp_path, start_mosquitto(tmp_path / "broker")) as hall:
        hall.start()
        hall.device.press(0)
        hall.await_collected(1)
        hall.await_released()
        hall.collector.kill()
        for button in (4, 3, 4):
            hall.device.press(button)
        eventually("the agent has sent them", lambda: hall.status()["outbox_sent"] == 3)
        payload = forged_for_the_last_record(hall).to_json()
        once.single(WINDOW.down(Down.RECEIPT), payload, qos=1, hostname=hall.broker.host, port=hall.broker.port)
        eventually("the device refuses it", lambda: hall.status()["counters"].get("receipts_refused_by_device") == 1)
        status = hall.status()
        assert status["outbox_to_send"] + status["outbox_sent"] == 3
        eventually("the device still has them", lambda: hall.status()["journal_waiting"] == 3)
        hall.collector.start()
        found = [rating["level"] for rating in hall.await_collected(4)]
        assert found == ["very_satisfied", "very_dissatisfied", "dissatisfied", "very_dissatisfied"]
        hall.await_released()
