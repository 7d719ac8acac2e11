"""A destroyed device, a damaged database, and still every rating is collected once: repaired, started, sent by the real programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.store.database import FILE_NAME
from tests.brokers import start_nats
from tests.hall import Hall, eventually

pytestmark = pytest.mark.e2e


def db(hall: Hall, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["db", *words, "--config", str(hall.agent.config)])
    return done.exit_code, f"{done.output} {done.exception}"


def test_what_only_a_damaged_database_had_is_rescued_and_collected_once(tmp_path: Path) -> None:
    with Hall(tmp_path, start_nats(tmp_path / "broker")) as hall:
        hall.start()
        for _ in range(3):
            hall.device.press(0)
        hall.await_collected(3)
        hall.await_released()
        hall.collector.kill()  # started again below: to wait until it connects again by itself is another test
        hall.broker.kill()
        for button in range(5):
            hall.device.press(button)
        eventually("the agent has them", lambda: hall.status()["outbox_to_send"] == 5)
        hall.device.unplug()  # and nobody ever plugs it in again
        code, said = db(hall, "repair")
        assert (code, "stop it first" in said) == (1, True)
        hall.agent.stop()

        file = hall.data_dir / FILE_NAME
        with file.open("r+b") as content:
            content.write(os.urandom(100))
        assert db(hall, "check")[0] == 2
        hall.agent.start()  # as its service does, before anybody looks: it begins anew, without the five
        assert hall.status()["outbox_to_send"] == 0
        assert len(hall.status()["databases_set_aside"]) == 1
        hall.agent.stop()

        code, said = db(hall, "repair")
        assert (code, "待发送 to send 5" in said) == (0, True), said
        assert db(hall, "check")[0] == 0
        hall.broker.start()
        hall.collector.start()
        hall.agent.start()
        hall.await_collected(8)
        eventually("receipts", lambda: not hall.status()["outbox_to_send"] + hall.status()["outbox_sent"])
        assert hall.status()["databases_set_aside"] == []
