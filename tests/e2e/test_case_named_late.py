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
        hall.await_collected(1)
        hall.await_released()  # so that only the case is on its way, and not the rating, which is repeated after a minute
        hall.collector.kill()
        hall.broker.kill()
        (rating,) = hall.ask("GET", "/v1/free-ratings").json()
        named = hall.ask("PUT", f"/v1/free-ratings/{DEVICE}/{rating['seq']}/case", json={"case_no": "L-1"})
        assert named.status_code == 200
        hall.agent.kill()  # at once: what was answered is durable
        hall.broker.start()
        hall.collector.start()
        hall.agent.start()
        # at once; or, had the collector not subscribed yet, when it is said again after a minute
        found = eventually("it is collected with its case", lambda: [one for one in hall.ratings() if one["case"]], 80.0)
        (collected,) = found
        assert (collected["case"], collected["case_is_late"]) == ({"case_no": "L-1"}, True)
        hall.await_collected(1)
        other = hall.ask("PUT", f"/v1/free-ratings/{DEVICE}/{rating['seq']}/case", json={"case_no": "L-2"})
        assert other.status_code == 409
