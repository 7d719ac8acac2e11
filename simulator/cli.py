"""`python -m simulator`: a device to develop against, and the demo."""

from __future__ import annotations

import logging
import random
import re
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from simulator.demo.show import PAGE_PORT, show_headless, show_page
from simulator.demo.stage import StageInUse
from simulator.device.engine import CPythonEngine, DeviceFailed, VmEngine, default_engine
from simulator.device.simulated import SECTORS, SimulatedDevice
from simulator.hardware.serial_line import PortInUse
from simulator.services import ServiceFailed

app = typer.Typer(help="评价器模拟器 The rating device without the hardware.", no_args_is_help=True, add_completion=False)
KEYS_HELP = "1-5 按键 press · u 拔线 unplug · c 断电 cut power · p 插好 plug in · q 退出 quit"


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="数据目录 where the demo keeps its data")] = Path(".demo"),
    headless: Annotated[bool, typer.Option("--headless", help="无浏览器对账 press by program and compare")] = False,
    presses: Annotated[int, typer.Option(min=1, max=100_000, help="按键次数 presses with --headless")] = 20,
    seed: Annotated[int, typer.Option(help="随机种子 which buttons are pressed")] = 1,
    start_anew: Annotated[bool, typer.Option("--reset", help="清除演示数据 delete the demo's data first")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="页面端口 port of the page")] = PAGE_PORT,
    no_open: Annotated[bool, typer.Option("--no-open", help="不打开浏览器 do not open a browser")] = False,
) -> None:
    """演示 One device, one window and the collection, on this machine."""
    if headless:
        raise typer.Exit(show_headless(folder.resolve(), presses, seed, anew=start_anew))
    raise typer.Exit(show_page(folder.resolve(), open_browser=not no_open, port=port, anew=start_anew))


@app.command()
def device(
    port: Annotated[
        str,
        typer.Option(help="路径 a path at which a pseudo-terminal appears, 或 or socket://127.0.0.1:7001"),
    ],
    folder: Annotated[Path, typer.Option(help="身份与闪存 where identity and flash are kept")] = Path(".device"),
    name: Annotated[str, typer.Option("--id", help="评价器编号 device id, as on the label")] = "PJQ-SIM-1",
    hall_key: Annotated[
        str, typer.Option(help="大厅密钥，64 位十六进制 the hall's key, 64 hex digits; zeros suit development")
    ] = "00" * 32,
    sectors: Annotated[int, typer.Option(min=3, max=352, help="日志扇区 journal sectors of 30 records each")] = SECTORS,
    engine: Annotated[str, typer.Option(help="vm (MicroPython) 或 or cpython; 默认 default: vm where there is one")] = "",
    press: Annotated[str, typer.Option(help="自动按键 press these and go on, e.g. 1,3,5")] = "",
) -> None:
    """评价器 One device that runs the real firmware, for developing against.

    It appears under --port and waits for a host. It remembers everything in --folder: stop it in the middle of anything
    and start it again, as often as you like.

    Open the port with pyserial's serial_for_url and speak docs/protocol.md, or name it as device.port in an agent's
    configuration (docs/tutorial.md).

    While it runs, type a key and Enter: 1-5 press a button, u unplugs the cable, c cuts the power, p plugs all in
    again, q ends.
    """
    try:
        key = bytes.fromhex(hall_key)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise typer.BadParameter("64 位十六进制 64 hex digits are expected", param_hint="--hall-key")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,16}", name):
        raise typer.BadParameter("1 至 16 个字母、数字、_ 或 - 1 to 16 letters, digits, _ or -", param_hint="--id")
    engines: dict[str, type[VmEngine] | type[CPythonEngine]] = {
        "": default_engine(),
        "vm": VmEngine,
        "cpython": CPythonEngine,
    }
    if engine not in engines:
        raise typer.BadParameter("vm 或 or cpython", param_hint="--engine")
    console = Console()
    words = {"lamps": "灯 lamps", "sound": "声 sound", "power": "电源 power", "cable": "数据线 cable"}

    def tell(word: str, number: int) -> None:
        text = f"{number:06b}" if word == "lamps" else str(number)
        console.print(f"  {words[word]} {text}", style="dim")

    simulated = SimulatedDevice(folder, name, key, port, sectors=sectors, engine=engines[engine], listener=tell)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    try:
        simulated.plug_in()
        console.print(f"{name} @ {simulated.line.port}  ({engines[engine].__name__})\n{KEYS_HELP}")
        for button in press.split(",") if press else []:
            _key(simulated, button.strip())
        threading.Thread(target=_keyboard, args=(simulated, stopping), daemon=True).start()
        while not stopping.wait(0.5):
            pass
    finally:
        simulated.close()


@app.command()
def world(
    seed: Annotated[int | None, typer.Option(help="一个种子 one seed; --trace 显示经过 tells all that happens")] = None,
    seeds: Annotated[str, typer.Option(help="种子范围 a range of seeds: 1..20; random:8 为随机 draws fresh ones")] = "1..10",
    windows: Annotated[int, typer.Option(min=1, max=60, help="窗口数 windows")] = 2,
    minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="繁忙的虚拟分钟 busy virtual minutes")] = 5.0,
    days: Annotated[int, typer.Option(min=0, max=3660, help="改为整日，每窗口每日约 300 次 whole days instead")] = 0,
    faults: Annotated[str, typer.Option(help="只用这些故障 only these faults, with commas between; none 为无 for none")] = "",
    jobs: Annotated[int | None, typer.Option(min=1, help="并行数 processes side by side; 默认每核一个 one per core")] = None,
    report: Annotated[Path | None, typer.Option(help="报告文件 write an HTML report here")] = None,
    shrink: Annotated[float, typer.Option(min=0, help="缩小失败的秒数 seconds spent on making a failure small")] = 60.0,
    plan: Annotated[Path | None, typer.Option(help="按故障计划文件重现 run the plan in this file instead")] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="与 --seed 或 --plan 一起：显示经过 with these: show what happens")
    ] = False,
) -> None:
    """故障世界 Break a whole hall in virtual time and see whether every thanked press is collected once.

    Real device, agent and collector; modelled line, flash, broker and clock. The seed decides everything: the same seed
    breaks the same things at the same moments. A failure is made as small as can be and kept as a plan. Exit code 0 only if
    nothing is wrong in any world.
    """
    from simulator.world.faults import FAULTS
    from simulator.world.plan import Plan
    from simulator.world.runs import Wish
    from simulator.world.show import show_plan, show_seeds

    kinds = [] if faults == "none" else [kind.strip() for kind in faults.split(",")] if faults else list(FAULTS)
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]}? {', '.join(FAULTS)}", param_hint="--faults")
    wish = Wish(windows, minutes * 60, days, tuple(kinds))
    if plan is not None:
        try:
            told = Plan.from_json(plan.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise typer.BadParameter(str(error), param_hint="--plan") from error
        raise typer.Exit(show_plan(wish, told, f"python -m simulator world --plan {plan}", trace=trace, report=report))
    if seed is not None:
        raise typer.Exit(show_plan(wish, wish.plan(seed), wish.command(f"--seed {seed}"), trace=trace, report=report))
    raise typer.Exit(show_seeds(wish, _seeds(seeds), jobs, report, shrink))


def _seeds(text: str) -> Sequence[int]:
    how, _, count = text.partition(":")
    if how == "random" and count.isdecimal() and int(count):
        return [secrets.randbelow(1 << 31) for _ in range(int(count))]
    first, _, last = text.partition("..")
    if first.isdecimal() and last.isdecimal() and int(first) <= int(last):
        return range(int(first), int(last) + 1)
    each = text.split(",")
    if not all(seed.isdecimal() for seed in each):
        raise typer.BadParameter("例如 for example 7 或 or 3,9 或 or 1..20 或 or random:8", param_hint="--seeds")
    return [int(seed) for seed in each]


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="故障时长 minutes with faults")] = 5.0,
    seed: Annotated[int, typer.Option(help="随机种子 what is pressed and broken when; 默认随机 drawn when not given")] = -1,
    broker: Annotated[str, typer.Option(help="消息服务器 nats 或 or mosquitto")] = "nats",
    store: Annotated[str, typer.Option(help="数据库 sqlite 或 or postgresql")] = "sqlite",
    windows: Annotated[int, typer.Option(min=1, max=20, help="窗口数 windows")] = 2,
    faults: Annotated[str, typer.Option(help="只用这些故障 only these faults, with commas between")] = "",
    report: Annotated[Path | None, typer.Option(help="网页报告 write a report to this HTML file")] = None,
) -> None:
    """真实进程 Break a hall of real processes in real time and see whether every thanked press is collected once.

    Real MicroPython devices on pseudo-terminals, agents, broker, collector and database: killed, stopped, unplugged, cut off,
    out of disk. Every two minutes all is put right, comes to rest, and is compared. Exit code 0 only if nothing is wrong;
    otherwise the folder with all logs stays.
    """
    if not hasattr(signal, "SIGSTOP"):
        raise ServiceFailed("仅限 Linux on Linux only: it stops processes with signals and needs pseudo-terminals")
    from simulator.chaos.hall import BROKERS, STORES
    from simulator.chaos.plan import KINDS
    from simulator.chaos.run import Wish
    from simulator.chaos.show import show

    for value, known, option in ((broker, BROKERS, "--broker"), (store, STORES, "--store")):
        if value not in known:
            raise typer.BadParameter(f"{value}? {', '.join(known)}", param_hint=option)
    kinds = [kind.strip() for kind in faults.split(",")] if faults else []
    names = [kind.name for kind in KINDS]
    unknown = [kind for kind in kinds if kind not in names]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]}? {', '.join(names)}", param_hint="--faults")
    chosen = seed if seed >= 0 else random.SystemRandom().randrange(1 << 32)
    raise typer.Exit(show(Wish(minutes * 60, chosen, broker, store, windows, kinds), report))


def _keyboard(simulated: SimulatedDevice, stopping: threading.Event) -> None:
    for line in sys.stdin:
        for key in line.strip().lower():
            if key == "q":
                stopping.set()
                return
            _key(simulated, key)


def _key(simulated: SimulatedDevice, key: str) -> None:
    actions = {"u": simulated.unplug, "c": simulated.cut_power, "p": simulated.plug_in}
    if key in "12345" and key:
        simulated.press(int(key) - 1)
    elif key in actions:
        actions[key]()
    else:
        typer.echo(f"{key!r}? {KEYS_HELP}", err=True)


def main() -> None:
    """Run the command; errors become one sentence and exit code 1."""
    logging.basicConfig(level="WARNING", format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        app()
    except (ServiceFailed, StageInUse, PortInUse, DeviceFailed, TimeoutError) as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
