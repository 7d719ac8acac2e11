"""Everything that goes wrong in a world, by name: what happens, what it is called on a report, and how it ends.

A fault acts through what the parts of a post offer (pull the cable, kill at a statement, fill the disk); it never reaches into the
programs. Whatever it leaves behind it also puts right after a while that it draws itself; what is not put right here, the hall does
at the end of the round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from collector.ingest.core import Message
from simulator.world.agent import WorldAgent
from simulator.world.broker import Broker
from simulator.world.collector import WorldCollector
from simulator.world.device import WorldDevice
from simulator.world.forger import WAYS, forge, forge_receipt
from simulator.world.line import NAMES, Line
from simulator.world.mortal import NO_LIMIT_PAGES
from simulator.world.scheduler import WallClock

DAY_MS = 86_400_000
CLOCK_STEPS_MS = (-DAY_MS, DAY_MS, -3_600_000, 3_600_000, 400 * DAY_MS, -60 * 365 * DAY_MS)
"""A day, an hour, the battery of the clock is empty, somebody mistypes the year."""


class Post(Protocol):
    """What a fault may act upon at one window."""

    device: WorldDevice
    line: Line
    agent: WorldAgent
    broker: Broker
    is_configured: bool
    """The agent has been told which port to use, so that had better stay."""

    def plug_in(self) -> None:
        """Put the cable in, and with it the power on."""

    def swap_device(self, choice: int) -> None:
        """Put another device at the window; this one goes into the drawer."""

    def switch_off(self, *, in_order: bool) -> None:
        """Switch the PC off, and with it the device that lives on its USB."""

    def switch_on(self) -> None:
        """Switch both on."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One fault happening: where, with which dice, and how to have something happen later."""

    post: Post
    other: Post
    """Another window, or the same where there is only one."""
    collector: WorldCollector
    random: Random
    after: Callable[[float, Callable[[], None]], None]
    """Has something happen after so many seconds, unless everything was put right before."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: its name in Chinese, and what it does."""

    chinese: str
    happen: Callable[[Scene], None]


def _power_cut(scene: Scene) -> None:
    scene.post.device.power_off()
    scene.after(scene.random.random() * 15, scene.post.device.power_on)


def _power_cut_in_flash(scene: Scene) -> None:
    if scene.post.device.flash.left < 0:
        scene.post.device.flash.cut_after(scene.random.randrange(4))


def _swapped(scene: Scene) -> None:
    scene.post.swap_device(scene.random.randrange(2))


def _exchanged(scene: Scene) -> None:
    """Two windows get each other's device."""
    if scene.other is not scene.post:
        mine, other = scene.post, scene.other
        for post in (mine, other):
            post.line.unplug()
            post.device.power_off()
        mine.device, other.device = other.device, mine.device
        for post in (mine, other):
            post.device.sends = post.line.device_sends
            post.line.to_device = post.device.receive
            scene.after(scene.random.random() * 5, post.plug_in)


def _unplugged(scene: Scene) -> None:
    scene.post.line.unplug()
    scene.after(scene.random.random() * 20, scene.post.line.plug)


def _stale_handle(scene: Scene) -> None:
    scene.post.line.unplug(noticed=False)
    scene.after(scene.random.random() * 10, scene.post.line.plug)


def _path_changed(scene: Scene) -> None:
    scene.post.line.unplug()
    name = NAMES[0] if scene.post.is_configured else scene.random.choice(NAMES)
    scene.after(scene.random.random() * 5, lambda: scene.post.line.plug(name))


def _port_held(scene: Scene) -> None:
    line = scene.post.line
    line.held_by_other = True
    line.unplug()  # whoever holds it got it while it was away

    def let_go() -> None:
        line.held_by_other = False

    scene.after(1, line.plug)
    scene.after(scene.random.random() * 20, let_go)


def _mute(scene: Scene) -> None:
    """Nothing comes through until somebody pulls the cable and puts it in again."""
    line = scene.post.line
    line.is_dead = True
    scene.after(scene.random.random() * 30, line.unplug)
    scene.after(31, line.plug)


def _noise(scene: Scene) -> None:
    scene.post.line.noise = (scene.random.choice((0.1, 0.3, 0.6)), scene.random)
    scene.after(scene.random.random() * 10, lambda: setattr(scene.post.line, "noise", None))


def _cut_short(scene: Scene) -> None:
    scene.post.line.cuts_short += scene.random.randrange(1, 6)


def _slow_ports(scene: Scene) -> None:
    line, usual_s = scene.post.line, scene.post.line.opening_s
    line.opening_s = 10.0
    line.unplug()
    line.plug()
    scene.after(scene.random.random() * 30, lambda: setattr(line, "opening_s", min(usual_s, line.opening_s)))


def _probed(scene: Scene) -> None:
    for n in range(scene.random.randrange(1, 5)):
        scene.after(n * 0.3, lambda: scene.post.line.probe(scene.random))


def _asleep(scene: Scene) -> None:
    seconds = scene.random.choice((1.0, 5.0, 20.0, 60.0)) * scene.random.random()
    scene.post.line.sleep()
    scene.post.agent.sleep(seconds)
    scene.after(seconds, scene.post.line.wake)


def _switched_off(scene: Scene) -> None:
    scene.post.switch_off(in_order=bool(scene.random.randrange(2)))
    scene.after(scene.random.random() * 10, scene.post.switch_on)


def _agent_killed(scene: Scene) -> None:
    scene.post.agent.kill_at(scene.random.randrange(12), after=bool(scene.random.randrange(2)))


def _agent_disk_full(scene: Scene) -> None:
    scene.post.agent.fill_disk()
    scene.after(scene.random.random() * 20, scene.post.agent.free_disk)


def _agent_disk_lost(scene: Scene) -> None:
    scene.post.agent.lose_disk()
    scene.after(scene.random.random() * 5, scene.post.agent.start)


def _agent_disk_damaged(scene: Scene) -> None:
    scene.post.agent.damage_disk(scene.random)
    scene.after(scene.random.random() * 5, scene.post.agent.start)


def _agent_disk_set_back(scene: Scene) -> None:
    scene.post.agent.set_disk_back()
    scene.after(scene.random.random() * 5, scene.post.agent.start)


def _clock_set(scene: Scene, clock: WallClock) -> None:
    clock.wrong_by_ms = scene.random.choice(CLOCK_STEPS_MS)
    scene.after(scene.random.random() * 60, lambda: setattr(clock, "wrong_by_ms", 0))


def _connection_dropped(scene: Scene) -> None:
    scene.post.broker.drop_connection()


def _half_open(scene: Scene) -> None:
    broker = scene.post.broker
    broker.is_half_open = True

    def noticed() -> None:
        broker.is_half_open = False
        broker.drop_connection()

    scene.after(scene.random.random() * 60, noticed)


def _broker_unreachable(scene: Scene) -> None:
    broker = scene.post.broker
    broker.reachable = False
    broker.drop_connection()

    def back() -> None:
        broker.reachable = True
        broker.wake_collector()

    scene.after(scene.random.random() * 30, back)


def _broker_forgets(scene: Scene) -> None:
    scene.post.broker.forget(scene.random.randrange(5))


def _broker_slow(scene: Scene) -> None:
    broker, usual_s = scene.post.broker, scene.post.broker.latency_s
    broker.latency_s = scene.random.choice((0.2, 1.0, 5.0))
    scene.after(scene.random.random() * 15, lambda: setattr(broker, "latency_s", min(usual_s, broker.latency_s)))


def _broker_disorderly(scene: Scene) -> None:
    scene.post.broker.noise = (0.3, scene.random)
    scene.after(scene.random.random() * 10, lambda: setattr(scene.post.broker, "noise", None))


def _forged(scene: Scene) -> None:
    way = scene.random.choice(sorted(WAYS))

    def forger(topic: str, payload: bytes) -> tuple[str, bytes] | None:
        altered = forge(way, topic, payload, scene.random)
        if altered is not None:
            scene.collector.forged[Message(*altered)] = WAYS[way][1]
        return altered

    scene.post.broker.forger = forger


def _receipt_forged(scene: Scene) -> None:
    """Somebody who may write to the agent wants it to forget, and forges a receipt for what it has sent last, again and again."""
    broker = scene.post.broker

    def forge_one() -> None:
        if broker.last_record is not None:
            broker.give(*forge_receipt(*broker.last_record, scene.random))

    for n in range(scene.random.randrange(1, 10)):
        scene.after(n * scene.random.random(), forge_one)


def _collector_killed(scene: Scene) -> None:
    scene.collector.kill_at(scene.random.randrange(30), after=bool(scene.random.randrange(2)))


def _collector_stopped(scene: Scene) -> None:
    scene.collector.stop()
    scene.after(scene.random.random() * 30, scene.collector.start)


def _collector_power_cut(scene: Scene) -> None:
    scene.collector.lose_power()
    scene.after(scene.random.random() * 15, scene.collector.start)


def _collector_disk_full(scene: Scene) -> None:
    scene.collector.limit_disk()
    scene.after(scene.random.random() * 10, lambda: scene.collector.limit_disk(NO_LIMIT_PAGES))


FAULTS: dict[str, Fault] = {
    "power cut": Fault("评价器断电", _power_cut),
    "power cut in flash": Fault("写闪存时断电", _power_cut_in_flash),
    "device swapped": Fault("更换评价器", _swapped),
    "devices exchanged": Fault("两窗口评价器互换", _exchanged),
    "unplugged": Fault("拔线", _unplugged),
    "stale handle": Fault("串口句柄失效", _stale_handle),
    "path changed": Fault("串口号改变", _path_changed),
    "port held": Fault("串口被占用", _port_held),
    "link mute": Fault("链路无声", _mute),
    "bad line": Fault("线路干扰", _noise),
    "writes cut short": Fault("写入被截断", _cut_short),
    "ports slow": Fault("枚举串口缓慢", _slow_ports),
    "modem probing": Fault("调制解调器探测", _probed),
    "PC asleep": Fault("电脑休眠，缓冲被覆盖", _asleep),
    "PC switched off": Fault("电脑关机", _switched_off),
    "PC clock set": Fault("电脑时钟被改", lambda scene: _clock_set(scene, scene.post.agent.clock)),
    "agent killed": Fault("代理被杀", _agent_killed),
    "agent's disk full": Fault("代理磁盘已满", _agent_disk_full),
    "agent's disk lost": Fault("代理磁盘丢失", _agent_disk_lost),
    "agent's disk damaged": Fault("代理数据库损坏", _agent_disk_damaged),
    "agent's disk set back": Fault("代理磁盘还原旧镜像", _agent_disk_set_back),
    "connection dropped": Fault("消息连接断开", _connection_dropped),
    "connection half open": Fault("消息连接半开", _half_open),
    "broker unreachable": Fault("消息服务器不可达", _broker_unreachable),
    "broker forgets": Fault("消息服务器丢失已确认消息", _broker_forgets),
    "broker slow": Fault("消息服务器缓慢", _broker_slow),
    "bad broker": Fault("重复与乱序投递", _broker_disorderly),
    "message forged": Fault("伪造或篡改消息", _forged),
    "receipt forged": Fault("伪造回执", _receipt_forged),
    "collector killed": Fault("归集程序被杀", _collector_killed),
    "collector stopped": Fault("归集程序停止", _collector_stopped),
    "collector's power cut": Fault("归集服务器断电", _collector_power_cut),
    "collector's disk full": Fault("归集磁盘已满", _collector_disk_full),
    "collector's clock set": Fault("归集时钟被改", lambda scene: _clock_set(scene, scene.collector.clock)),
}
"""What happens, by name."""
COUNTED: dict[str, str] = {"bytes spoilt": "字节被改", "deliveries disturbed": "投递被打乱"}
"""What a fault does again and again while it lasts; counted one by one."""
