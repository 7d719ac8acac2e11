"""A case named after its rating reaches the collection whatever is killed or away meanwhile, and only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import Broker, start_mosquitto, start_nats
from tests.hall import DEVICE, Hall, eventually

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("start_broker", [start_nats, start_mosquitto])
def test_a_late_case_survives_the_agent_the_broker_and_the_collector(
    tmp_path: Path, start_broker: Callable[[Path], Broker]
) -> None:
    with Hall(tmp_path / "hall", start_broker(tmp_path / "broker")) as hall:
        hall.start()
        hall.device.press(4)
        eventually("the rating is here", lambda: hall.ask("GET", "/v1/free-ratings").json())
        hall.collector.kill()
        hall.broker.kill()
        (rating,) = hall.ask("GET", "/v1/free-ratings").json()
        named = hall.ask("PUT", f"/v1/free-ratings/{DEVICE}/{rating['seq']}/case", json={"case_no": "L-1"})
        assert named.status_code == 200
        hall.agent.kill()  # at once: what was answered is durable
        hall.agent.start()
        hall.broker.start()
        hall.collector.start()
        (collected,) = eventually("it is collected with its case", lambda: [one for one in hall.ratings() if one["case"]])
        assert (collected["case"], collected["case_is_late"]) == ({"case_no": "L-1"}, True)
        hall.await_collected(1)
        other = hall.ask("PUT", f"/v1/free-ratings/{DEVICE}/{rating['seq']}/case", json={"case_no": "L-2"})
        assert other.status_code == 409
