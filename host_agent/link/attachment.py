"""The device at this window: search, port and conversation together, driven from the agent's one thread.

Listing and opening ports can take seconds and happens elsewhere, as reading does. Whatever comes of it is posted back, so that
everything below runs in one thread and needs no lock. A port that has been given up may
still post; its number tells it from the current one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from host_agent.errors import PortBusyError, PortError
from host_agent.instant import Instant
from host_agent.link.conversation import CALLING, Conversation, LinkState
from host_agent.link.events import Event, Identified, Refused, Silent
from host_agent.link.port import OpenPort, Ports, Transport
from host_agent.link.search import ANSWER_WITHIN_S, Belongs, Search
from host_agent.link.trace import Trace
from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION
from protocol.messages import Message, TimeSource

log = logging.getLogger("agent.link")

NO_ANSWER = (
    "设备没有应答，若持续请拔下评价器再插上 no answer from a device; if it stays so, unplug the device and plug it in again"
)

Post = Callable[[Callable[[Instant], None]], None]
"""Hands a callable to the agent's thread, which calls it with the time."""


class Attachment:
    """Finds the device, keeps it, finds it again; `handle(event, now)` gets what the conversation says.

    `belongs` says by its id where a device belongs; one that does not belong here is let go of.
    """

    def __init__(
        self,
        port_name: str | None,
        ports: Ports,
        post: Post,
        handle: Callable[[Event, Instant], None],
        lost: Callable[[Instant], None],
        *,
        entropy: Callable[[int], bytes],
        dtr: bool | None = None,
        rts: bool | None = None,
        belongs: Callable[[str], Belongs] = lambda _device: Belongs.HERE,
    ) -> None:
        self.trace = Trace()
        self._belongs = belongs
        self._entropy = entropy
        self._search = Search(port_name)
        self._ports = ports
        self._post = post
        self._handle = handle
        self._lost = lost
        self._lines = (dtr, rts)
        self._port: OpenPort | None = None
        self._port_number = 0
        self._busy = False
        self._closed = False
        self._answer_by_s = 0.0
        self._complaints: Counter[str] = Counter()
        self._damage_told: set[str] = set()
        self._unwatch = ports.watch(lambda: post(self._changed))
        self.port_name: str | None = None
        self.conversation: Conversation | None = None
        self.trouble: str | None = None
        """Why there is no device, in words for a person; None while there is one."""

    @property
    def state(self) -> str:
        """The link's state by name: searching, opening, or the conversation's own."""
        if self.conversation is not None:
            return self.conversation.state.value
        return "opening" if self._busy else "searching"

    @property
    def is_talking(self) -> bool:
        """True while records can flow and requests can be made."""
        return self.conversation is not None and self.conversation.state is LinkState.TALKING

    def step(self, now: Instant) -> None:
        """Do what is due: open the next port, repeat what was not answered, give up a port that says nothing."""
        conversation = self.conversation
        if conversation is None:
            self._seek(now)
            return
        for event in conversation.tick(now):
            self._event(event, now)
        if conversation.state in CALLING and now.mono_s >= self._answer_by_s:
            self._give_up(NO_ANSWER, now)
            return
        if conversation.state is LinkState.REFUSED and now.mono_s >= self._answer_by_s:
            self._give_up(self.trouble or "", now)  # another port may have a device that speaks our version
            return
        self.flush()

    def flush(self) -> None:
        """Send what the conversation has to say."""
        if self.conversation is not None and self._port is not None:
            data = self.conversation.take_output()
            if data:
                self._port.send(data)

    def deadline_s(self) -> float:
        """Return the monotonic time by which `step` must be called."""
        if self.conversation is None:
            return float("inf") if self._busy else self._search.deadline_s()
        if self.conversation.state in (*CALLING, LinkState.REFUSED):
            return min(self._answer_by_s, self.conversation.deadline_s())
        return self.conversation.deadline_s()

    def request(self, message: Message, now: Instant) -> int:
        """Ask the device for something; return the number its answer will carry. Only while `is_talking`."""
        assert self.conversation is not None, "ask is_talking first"  # noqa: S101  # a programming error, not input
        return self.conversation.request(message, now)

    def withdraw(self, correlation: int) -> None:
        """Forget a request that has not been sent yet."""
        if self.conversation is not None:
            self.conversation.withdraw(correlation)

    def restart(self, now: Instant) -> None:
        """Let go of the port and look for the device anew; what is not acknowledged the device has still."""
        if self.conversation is not None:
            self._give_up("应远程请求重新连接 begun anew, as was asked from afar", now)

    def close(self) -> None:
        """Let go of the port, for good: one that is just being opened is closed as soon as it is open."""
        self._closed = True
        self._unwatch()
        self._let_go()

    # --- inside ----------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        self._port_number += 1
        self.conversation = None
        if self._port is not None:
            self._port.close()
            self._port = None

    def _seek(self, now: Instant) -> None:
        if self._busy or self._closed:
            return
        if self._search.needs_candidates and now.mono_s >= self._search.deadline_s():
            self._busy = True
            self._ports.find(lambda found: self._post(partial(self._listed, found)))
            return
        name = self._search.next_port(now)
        if name is not None:
            self._busy = True
            self._ports.open(name, *self._lines, lambda outcome: self._post(partial(self._tried, name, outcome)))

    def _changed(self, now: Instant) -> None:
        if self.conversation is None and not self._busy:
            self._search.wake(now)

    def _listed(self, found: list[str], now: Instant) -> None:
        self._busy = False
        self._search.candidates(found, now)
        if self._search.next_port(now) is None:
            if not found or self.trouble is None:
                self.trouble = "未发现串口设备，请检查评价器连线 no serial device found; check the cable"
            self._search.failed(now)

    def _tried(self, name: str, outcome: Transport | PortError, now: Instant) -> None:
        self._busy = False
        if isinstance(outcome, PortBusyError):
            self._search.failed(now)
        elif isinstance(outcome, PortError):
            self._complain(name, str(outcome))
            self._search.failed(now)
        elif self._closed:
            outcome.close()
        else:
            self._opened(name, outcome, now)

    def _opened(self, name: str, transport: Transport, now: Instant) -> None:
        self._port_number += 1
        number = self._port_number
        self.port_name = name
        self._port = self._ports.attach(
            transport,
            lambda data: self._post(partial(self._bytes, number, data)),
            lambda why: self._post(partial(self._failed, number, why)),
        )
        # no secret: it only tells one conversation's answers from another's
        self.conversation = Conversation(int.from_bytes(self._entropy(4), "little"), now, TimeSource.FREE_RUNNING, self.trace)
        self._answer_by_s = now.mono_s + ANSWER_WITHIN_S
        self.flush()

    def _bytes(self, number: int, data: bytes, now: Instant) -> None:
        if number == self._port_number and self.conversation is not None:
            conversation = self.conversation
            for event in conversation.receive(data, now):
                self._event(event, now)
            self._tell_damage(conversation)
            self.flush()

    def _tell_damage(self, conversation: Conversation) -> None:
        """Warn once for each kind of damage; the counters tell how much of it there is."""
        kinds = set(conversation.counters.damaged) | ({"unknown type"} if conversation.counters.unknown else set())
        for kind in sorted(kinds - self._damage_told):
            self._damage_told.add(kind)
            log.warning(
                "%s 收到损坏或无法识别的数据（%s），请检查连线和供电 damaged or unknown data; check cable and power, or whether "
                "this is a rating device",
                self.port_name,
                kind,
            )

    def _event(self, event: Event, now: Instant) -> None:
        if self.conversation is None:
            return  # of the same bytes as what had the port given up
        if isinstance(event, Identified) and (whose := self._belongs(event.answer.device)) is not Belongs.HERE:
            self._leave(event.answer.device, whose, now)
            return
        if isinstance(event, Identified):
            assert self.port_name is not None  # noqa: S101  # a conversation has a port
            self._search.found(self.port_name)
            self._complaints.clear()
            self.trouble = None
        elif isinstance(event, Silent):
            self.trouble = f"{self.port_name}: {NO_ANSWER}"
        elif isinstance(event, Refused):
            self._complain(self.port_name or "", version_sentence(event))
        self._answer_by_s = now.mono_s + ANSWER_WITHIN_S
        self._handle(event, now)

    def _leave(self, device: str, whose: Belongs, now: Instant) -> None:
        """Let go of a port whose device is not this window's, and do not ask there again for a while."""
        assert self.port_name is not None  # noqa: S101  # a conversation has a port
        if whose is Belongs.NOWHERE:
            self._complain(
                self.port_name,
                f"评价器 {device} 未登记在本机任何窗口，请将 device.id 设为它的编号 belongs to no window of this PC: set the "
                "device.id of its window to it; it keeps its ratings until then",
            )
        self._search.not_ours(self.port_name, now)
        self._let_go()
        self._search.failed(now)

    def _failed(self, number: int, why: str, now: Instant) -> None:
        if number == self._port_number:
            self._give_up(why, now)

    def _give_up(self, why: str, now: Instant) -> None:
        self._complain(self.port_name or "", why)
        had_device = self.conversation is not None and self.conversation.answer is not None
        self._let_go()
        self._search.failed(now)
        if had_device:
            self._lost(now)

    def _complain(self, name: str, why: str) -> None:
        """Warn once for each cause; a port that fails every few seconds must not fill the log."""
        self.trouble = why if name in why else f"{name}: {why}"
        self._complaints[self.trouble] += 1
        log.log(logging.WARNING if self._complaints[self.trouble] == 1 else logging.DEBUG, "%s", self.trouble)


def version_sentence(refused: Refused) -> str:
    """Return which side is old, by which numbers, and what to do."""
    numbers = (
        f"协议版本 protocol versions: 评价器 device {refused.oldest}..{refused.newest}, "
        f"代理程序 agent {OLDEST_PROTOCOL_VERSION}..{PROTOCOL_VERSION}"
    )
    if refused.device_is_older:
        return (
            "评价器固件过旧，请大厅运维更新固件（步骤见 firmware/README.md） the device's firmware is older than this agent; "
            f"update the firmware, as firmware/README.md says. {numbers}"
        )
    return (
        '代理程序过旧，请在本机更新：python -m pip install --upgrade "haochaping[agent]" '
        f"this agent is older than the device's firmware; update the agent on this PC with that command. {numbers}"
    )
