"""What each kind of fault does to the hall, and how it is put right. Only what reality can do: signals, cables, disks, networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from random import Random

from simulator.chaos.disk import SmallDisk
from simulator.chaos.hall import Hall, Post
from simulator.chaos.plan import KINDS, Happening, Kind
from simulator.chaos.programs import Program
from simulator.chaos.proxy import Proxy
from simulator.device.engine import VmEngine

SLOW_S = (0.02, 0.4)
Undo = Callable[[], None]


def possible(hall: Hall, wanted: Collection[str]) -> list[Kind]:
    """Return the kinds that can be had in this hall; all that are `wanted`, or all when none is named."""
    absent = {"store"} if hall.server is None else set()
    return [
        kind
        for kind in KINDS
        if kind.befalls not in absent and kind.name not in hall.impossible and (not wanted or kind.name in wanted)
    ]


def begin(hall: Hall, happening: Happening, random: Random) -> Undo:
    """Let it happen; return what puts it right."""
    post = hall.posts[happening.window]
    name = happening.kind.name
    match happening.kind.befalls:
        case "device":
            return _device(post, name)
        case "agent":
            return _agent(post, name)
        case "way":
            return _network(post.proxy, name, random)
        case "collector's way":
            return _network(hall.proxy, name, random)
        case "broker":
            return _broker(hall, name)
        case "collector":
            return _disk_full(hall.disk) if "disk" in name else _process(hall.collector, name)
        case _:
            return _store(hall, name)


def _process(program: Program, name: str) -> Undo:
    if name.endswith("stands still"):
        program.freeze()
        return program.thaw
    program.held_down = True
    program.kill()

    def back() -> None:
        program.held_down = False
        program.start()

    return back


def _device(post: Post, name: str) -> Undo:
    device = post.device
    if name == "device's power cut":
        device.cut_power()
        return device.plug_in
    if name == "cable pulled":
        device.unplug()
        return device.plug_in
    engine = device.engine
    assert isinstance(engine, VmEngine)  # noqa: S101  # the hall has no other
    post.stands_still = True
    engine.freeze()

    def go_on() -> None:
        engine.thaw()
        post.stands_still = False

    return go_on


def _agent(post: Post, name: str) -> Undo:
    if name == "agent's disk full":
        return _disk_full(post.disk)
    undo = _process(post.agent, name)
    if name == "agent's data deleted":
        for item in post.data_dir.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            else:
                item.unlink()
    return undo


def _disk_full(disk: SmallDisk) -> Undo:
    disk.fill()
    return disk.free


def _network(proxy: Proxy, name: str, random: Random) -> Undo:
    if name.endswith("slow"):
        proxy.delay_s = random.uniform(*SLOW_S)

        def fast() -> None:
            proxy.delay_s = 0.0

        return fast
    if name.endswith("cut"):
        proxy.refuse()
        return proxy.heal
    proxy.hang()
    ends_reset = random.random() < 0.5  # a router that has forgotten the connection, or one that has not

    def whole() -> None:
        if ends_reset:
            proxy.heal()
            proxy.cut()
        else:
            proxy.resume()

    return whole


def _broker(hall: Hall, name: str) -> Undo:
    undo = _process(hall.broker, name)
    if name.endswith("lost"):
        shutil.rmtree(hall.broker_data, ignore_errors=True)
        hall.broker_data.mkdir()
    return undo


def _store(hall: Hall, name: str) -> Undo:
    assert hall.server is not None  # noqa: S101  # `possible` sees to that
    if name == "database session ended":
        hall.server.cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        return lambda: None
    return _process(hall.server, name)
