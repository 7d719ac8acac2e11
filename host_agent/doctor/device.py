"""The device, as long as no agent has it: is its port there, may we, has somebody else got it, and who answers."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from host_agent.config import Config
from host_agent.doctor.finding import Finding, Grade
from host_agent.errors import PortError
from host_agent.instant import Instant
from host_agent.link.attachment import version_sentence
from host_agent.link.conversation import Conversation
from host_agent.link.events import Identified, Refused
from host_agent.link.port import list_candidates, open_transport
from host_agent.link.search import Belongs

ANSWER_S = 4.0
PORT = "评价器串口 device port"
DEVICE = "评价器 device"


def port(configured: str | None) -> Finding:
    """Look whether there is a port at all."""
    try:
        found = list_candidates()
    except Exception as error:  # whatever a driver's entries make of it
        if configured is not None:
            return Finding(PORT, Grade.OK, configured)  # asking it tells more
        return Finding(
            PORT, Grade.FAIL, f"串口无法列出，请在 device.port 中写明 ports cannot be listed, name one as device.port: {error}"
        )
    if configured is None:
        if found:
            return Finding(PORT, Grade.OK, f"将询问 will be asked: {', '.join(found)}")
        return Finding(
            PORT, Grade.WARN, "未发现 USB 串口，请检查连线和驱动 no USB serial port is there: check cable and driver"
        )
    if "://" in configured or configured in found or os.path.exists(configured):
        return Finding(PORT, Grade.OK, configured)
    there = f"; 现有 there is: {', '.join(found)}" if found else ""
    return Finding(PORT, Grade.WARN, f"device.port: {configured} 不存在，请检查连线 does not exist: check the cable{there}")


def findings(config: Config) -> Iterator[Finding]:
    """Look for the device itself: open each port that may have it, and ask."""
    configured = config.device.port
    there = port(configured)
    yield there
    if there.grade is not Grade.OK:
        return
    names = [configured] if configured is not None else list_candidates()
    outcomes = [outcome for name in names if (outcome := _ask(name, config)) is not None]
    if not outcomes:
        yield Finding(
            DEVICE, Grade.FAIL, "只有本机其他窗口的评价器，请检查连线 only other windows' devices are there: check the cable"
        )
    good = [outcome for outcome in outcomes if outcome.grade is Grade.OK]
    yield from good or outcomes


def _ask(name: str, config: Config) -> Finding | None:
    """Ask who is there; None for a device of another window at this PC."""
    try:
        transport = open_transport(name, dtr=config.device.dtr, rts=config.device.rts)
    except PortError as error:
        holder = _holder(name)
        return Finding(DEVICE, Grade.FAIL, f"{error}{f': {holder}' if holder else ''}")
    conversation = Conversation(secrets.randbits(32), _now())
    deadline_s = time.monotonic() + ANSWER_S
    try:
        while time.monotonic() < deadline_s:
            events = conversation.tick(_now())
            output = conversation.take_output()
            if output:
                transport.write(output)
            for event in events + conversation.receive(transport.read(), _now()):
                if isinstance(event, Identified):
                    return _identified(name, event, config)
                if isinstance(event, Refused):
                    return Finding(DEVICE, Grade.FAIL, version_sentence(event))
    except PortError as error:
        return Finding(DEVICE, Grade.FAIL, f"{name}: {error}")
    finally:
        transport.close()
    return Finding(
        DEVICE,
        Grade.FAIL,
        f"{name} 没有评价器应答，请重新插拔，并确认是评价器 nobody answers there: is it the device? Unplug it and plug it in again",
    )


def _identified(name: str, event: Identified, config: Config) -> Finding | None:
    answer, wanted = event.answer, config.device.id
    words = f"{answer.device}，固件 firmware {answer.firmware}，{name}"
    belongs = config.belongs(answer.device)
    if belongs is Belongs.BESIDE:
        return None
    if belongs is Belongs.NOWHERE:
        return Finding(
            DEVICE,
            Grade.FAIL,
            f"{words}；未登记在本机任何窗口，请设置 device.id  belongs to no window of this PC: set its device.id",
        )
    if wanted is not None and answer.device != wanted:
        return Finding(
            DEVICE, Grade.FAIL, f"{words}；本窗口应为 {wanted} (device.id) this window expects {wanted}: swap them back"
        )
    waiting = answer.next_seq - answer.receipt_seq
    return Finding(DEVICE, Grade.OK, f"{words}，待回执 {waiting} 条 records without receipt")


def _holder(name: str) -> str:
    """Return the program that has a port open, as far as this account may see; Linux only."""
    if sys.platform == "linux":
        target = os.path.realpath(name)
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                process = descriptor.parents[1]
                if os.readlink(descriptor) == target and int(process.name) != os.getpid():
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
            except OSError:
                continue  # ended meanwhile, or not ours to see
    return ""


def _now() -> Instant:
    return Instant(time.monotonic(), time.time_ns() // 1_000_000)
