"""Plans, shrinking, the trace's words, the line's stale handle, the report: the parts of the world that are not the programs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from host_agent.errors import PortError
from protocol.messages import Ack
from protocol.topics import Up
from simulator.cli import app
from simulator.compare import Findings, Seen, first_mismatch
from simulator.world.faults import FAULTS
from simulator.world.forger import WAYS, forge
from simulator.world.line import NOBODY, Line
from simulator.world.plan import PRESSES, Happening, Plan, draw_busy, draw_days
from simulator.world.report import Totals, write_report
from simulator.world.runs import Summary, Wish, run_seeds
from simulator.world.scheduler import Scheduler
from simulator.world.shrink import shrink
from simulator.world.trace import Trace, words
from tests.chains import CASE, EVALUATION, HALL_KEY, PaperDevice


def test_a_plan_survives_its_file_and_nonsense_is_refused() -> None:
    plan = draw_busy(5, 3, 200.0, FAULTS)
    assert Plan.from_json(plan.to_json()) == plan
    assert len(plan.rounds) == 1
    assert {one.window for one in plan.happenings} == {0, 1, 2}
    for text in ("", "{}", '{"seed": 1, "windows": 1, "rounds": [1], "happenings": [{"what": "x"}]}'):
        with pytest.raises(ValueError, match="no plan"):
            Plan.from_json(text)


def test_leaving_one_happening_out_changes_no_other() -> None:
    plan = draw_busy(5, 1, 60.0, FAULTS)
    smaller = plan.with_only(plan.happenings[1:])
    assert smaller.happenings == plan.happenings[1:]
    assert smaller.seed == plan.seed


def test_a_day_has_the_hours_and_presses_of_a_hall() -> None:
    plan = draw_days(1, 1, 5, FAULTS)
    presses = [one for one in plan.happenings if one.what == PRESSES]
    assert all(9 * 3600 <= one.at_s < 17.1 * 3600 for one in presses)
    assert 250 < len(presses) / 5 < 350
    assert len(plan.rounds) == 5


def test_shrinking_leaves_what_is_needed_and_nothing_else() -> None:
    happenings = tuple(Happening(n % 3, float(n), 0, "x", n) for n in range(90))
    needed = {happenings[13], happenings[31]}
    trials: list[Plan] = []

    def fails(plan: Plan) -> bool:
        trials.append(plan)
        return needed <= set(plan.happenings)

    plan = shrink(Plan(1, 1, (1.0, 1.0, 1.0), tuple(sorted(happenings))), fails, 60.0)
    assert set(plan.happenings) == needed
    assert len(plan.rounds) == 2
    assert len(trials) < 120


def test_shrinking_ends_when_its_time_is_over() -> None:
    plan = Plan(1, 1, (1.0,), tuple(Happening(0, float(n), 0, "x", n) for n in range(50)))
    assert shrink(plan, lambda _plan: True, 0.0) == plan


@pytest.mark.parametrize(
    ("presses", "collected", "is_right"),
    [
        ([(5, True), (1, True)], [5, 1], True),
        ([(5, True), (1, True)], [1, 5], False),
        ([(5, True), (1, True)], [5], False),
        ([(5, True)], [5, 5], False),
        ([(5, False), (1, True)], [1], True),
        ([(5, False), (1, True)], [5, 1], True),
        ([(5, True), (1, False)], [4], False),
        ([], [3], False),
    ],
)
def test_the_oracle_walks_presses_and_records_side_by_side(
    presses: list[tuple[int, bool]], collected: list[int], is_right: bool
) -> None:
    seen = [Seen(0.0, level, is_thanked) for level, is_thanked in presses]
    assert (first_mismatch(seen, collected) == "") is is_right
    found = Findings()
    assert found.compare("PJ-1", seen, collected) is is_right
    assert (found.lost + found.doubled + found.altered > 0) is not is_right
    assert (found.presses, found.collected) == (len(presses), len(collected))


class Stage:
    """A line with an agent's ears on it."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.line = Line(self.scheduler, Trace(lambda: self.scheduler.now_s, on=False), "line")
        self.at_device: list[bytes] = []
        self.at_host: list[bytes] = []
        self.failed: list[str] = []
        self.line.to_device = self.at_device.append

    def open(self, name: str) -> PortError | None:
        outcomes: list[object] = []
        self.line.open(name, True, False, outcomes.append)
        self.scheduler.run(1.0)
        (outcome,) = outcomes
        if isinstance(outcome, PortError):
            return outcome
        self.port = self.line.attach(outcome, self.at_host.append, self.failed.append)  # type: ignore[arg-type]  # what is no error is a transport
        return None

    def talk(self) -> tuple[int, int]:
        """Send a byte each way; return how many have arrived at the device and at the host."""
        self.port.send(b"d")
        self.line.device_sends(b"h")
        self.scheduler.run(1.0)
        return len(self.at_device), len(self.at_host)


def test_a_handle_from_before_is_dead_and_holds_the_port_until_it_is_closed() -> None:
    stage = Stage()
    assert stage.open(stage.line.name) is None
    assert stage.talk() == (1, 1)
    stale = stage.port
    stage.line.unplug(noticed=False)
    stage.line.plug()
    assert stage.talk() == (1, 1)
    assert stage.failed == []
    assert "access denied" in str(stage.open(stage.line.name))
    stale.close()
    assert stage.open(stage.line.name) is None
    assert stage.talk() == (2, 2)


def test_a_cable_pulled_is_told_once_and_another_name_is_found() -> None:
    stage = Stage()
    stage.open(stage.line.name)
    stage.line.unplug()
    stage.line.unplug()
    assert stage.failed == ["unplugged"]
    stage.line.plug("COM7")
    found: list[list[str]] = []
    stage.line.find(found.append)
    stage.scheduler.run(1.0)
    assert found == [[NOBODY, "COM7"]]
    assert stage.open("COM3") is not None
    assert stage.open("COM7") is None


def test_a_pc_asleep_gets_a_buffer_of_old_and_new_bytes() -> None:
    stage = Stage()
    stage.open(stage.line.name)
    stage.line.sleep()
    for _ in range(10):
        stage.line.device_sends(bytes(range(100)))
    assert stage.at_host == []
    stage.line.wake()
    stage.scheduler.run(1.0)
    assert [len(piece) for piece in stage.at_host] == [256]
    assert stage.line.spoilt > 1


@pytest.mark.parametrize("way", sorted(WAYS))
def test_each_way_of_forging_alters_a_genuine_message(way: str) -> None:
    device = PaperDevice(hall_key=HALL_KEY)
    device.write_many(1)
    topic, payload = device.message(device.write(evaluation=EVALUATION, case=CASE), CASE)
    forged = forge(way, topic, payload, Random(1))
    assert forged is not None
    assert forged != (topic, payload)
    assert forge(way, device.window.up(Up.HEALTH), b"{}", Random(1)) is None


def test_frames_are_told_in_words() -> None:
    assert words(Ack(next_seq=7).frame(3)) == "Ack(next_seq=7) #3"


def _world(seed: int, *wrong: str) -> Summary:
    return Summary(seed, 10, 9, 9, 0, len(wrong), 0, 0, Counter({"unplugged": 3}), 60.0, 5.0 * seed, 0.5, wrong)


def test_the_report_has_the_sums_and_escapes_what_it_quotes(tmp_path: Path) -> None:
    worlds = [_world(1), _world(2, "press <1> is not collected")]
    totals = Totals.of(worlds)
    assert (totals.presses, totals.lost, totals.recovery_s, totals.faults["unplugged"]) == (20, 1, 10.0, 6)
    page = tmp_path / "report.html"
    write_report(page, Wish(), worlds, "python -m simulator world", {2: "a <trace>"})
    text = page.read_text(encoding="utf-8")
    assert "press &lt;1&gt; is not collected" in text
    assert "a &lt;trace&gt;" in text
    assert "拔线" in text


def test_worlds_side_by_side_come_in_the_order_of_their_seeds() -> None:
    wish = Wish(windows=1, seconds=10.0, kinds=("unplugged",))
    assert [world.seed for world in run_seeds(wish, [3, 1, 2], jobs=2)] == [3, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "9..1"], "--seeds"),
        (["--seeds", "random:0"], "--seeds"),
        (["--seeds", "1,x"], "--seeds"),
        (["--faults", "earthquake"], "earthquake"),
        (["--plan", "nowhere.json"], "nowhere.json"),
        (["--windows", "0"], "--windows"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["world", *arguments])
    assert result.exit_code == 2
    assert said in result.output


def test_the_command_runs_worlds_writes_a_report_and_tells_by_its_exit_code(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    arguments = ["world", "--seeds", "1..2", "--minutes", "0.2", "--windows", "1", "--jobs", "1", "--report", str(report)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "lost 0" in result.output
    assert report.exists()


def test_one_seed_is_told_on_request_and_reported_with_its_own_command(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    arguments = ["world", "--seed", "4", "--minutes", "0.2", "--windows", "1", "--faults", "unplugged", "--report", str(report)]
    quiet, told = CliRunner().invoke(app, arguments), CliRunner().invoke(app, [*arguments, "--trace"])
    assert (quiet.exit_code, told.exit_code) == (0, 0)
    assert "Hello(" in told.output
    assert "Hello(" not in quiet.output
    text = report.read_text(encoding="utf-8")
    some = CliRunner().invoke(
        app, ["world", "--seeds", "5,2", "--minutes", "0.1", "--jobs", "1", "--report", str(tmp_path / "some")]
    )
    assert some.exit_code == 0
    assert "--seeds 5,2 " in (tmp_path / "some").read_text(encoding="utf-8")
    assert "--seed 4 --windows 1 --minutes 0.2 --faults &#34;unplugged&#34;" in text
