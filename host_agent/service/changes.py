"""What an IT department wants in an event log: that device, broker or database have changed, not each flicker (pure).

Fed with the agent's status now and then. A state is told when it has held for SETTLE_S, so that a cable that is put in again is
no event and a loose one makes at most six a minute. Nothing of a rating is in a status, and so none is in what is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from host_agent.report import StatusReport

SETTLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to tell; `number` is its kind and stays what it is, for whoever filters by it."""

    number: int
    is_bad: bool
    text: str


@dataclass(slots=True)
class _Subject:
    told: bool | None = None
    seen: bool | None = None
    since_s: float = 0.0

    def saw(self, good: bool, now_s: float) -> bool:
        """Take what it is now; tell whether that is to be told."""
        if good != self.seen:
            self.seen, self.since_s = good, now_s
        if good == self.told or now_s - self.since_s < SETTLE_S:
            return False
        self.told = good
        return True


@dataclass(slots=True)
class Changes:
    """The last state of each that was told."""

    _device: _Subject = field(default_factory=_Subject)
    _broker: _Subject = field(default_factory=_Subject)
    _database: _Subject = field(default_factory=lambda: _Subject(told=True))  # that it is good is no news at a start

    def saw(self, report: StatusReport, now_s: float) -> list[Change]:
        """Take a status; return what is to be told of it."""
        told = []
        if self._device.saw(report.device is not None, now_s):
            told.append(_device(report))
        if self._broker.saw(report.broker_connected, now_s):
            told.append(_broker(report))
        if self._database.saw(report.store_trouble is None, now_s):
            told.append(_database(report))
        return told


def _device(report: StatusReport) -> Change:
    if report.device is not None:
        return Change(10, False, f"评价器已连接 the device is there: {report.device}, {report.port}")
    trouble = report.link_trouble or "请检查连线 check the cable"
    return Change(11, True, f"没有评价器，评价暂时无法送达 no device: {trouble}")


def _broker(report: StatusReport) -> Change:
    if report.broker_connected:
        return Change(12, False, "消息服务器已连接 the broker is reached")
    trouble = report.broker_trouble or "请检查网络 check the network"
    return Change(13, True, f"消息服务器未连接，评价先存在本机 the broker is not reached, ratings wait here: {trouble}")


def _database(report: StatusReport) -> Change:
    if report.store_trouble is None:
        return Change(14, False, "数据库恢复正常 the database can be written again")
    return Change(15, True, f"数据库无法写入，评价留在评价器中 ratings stay in the device: {report.store_trouble}")
