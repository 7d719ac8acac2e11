"""What the demo says in the terminal, and its two ways to run: with the page, or headless."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import webbrowser
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator.demo import headless
from simulator.demo.stage import Stage
from simulator.example import app as example_app
from simulator.panel.app import Links, PanelState, make_app
from simulator.services import HOST, free_port

PAGE_PORT = 8600


def show_headless(folder: Path, presses: int, seed: int, *, anew: bool = False) -> int:
    """Run without a browser; return the exit code, 0 only when everything arrived exactly once."""
    console = Console()
    thanks = headless.Thanks()
    stage = Stage(folder, lambda text: console.print(f"  启动 starting {text}"), thanks.tell, anew=anew)
    try:
        stage.start([])
        columns = (TextColumn("  按键 presses"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=presses)
            began = time.monotonic()
            books = headless.run(stage, thanks, presses, seed, lambda done: bar.update(task, completed=done))
    finally:
        stage.stop()
    console.print(_books_table(books, time.monotonic() - began))
    for name, cases in (
        ("缺失 missing", books.missing),
        ("重复 doubled", books.doubled),
        ("篡改 altered", books.altered),
        ("多出 not pressed", books.invented),
        ("未验证 not verified", books.unverified),
    ):
        if cases:
            console.print(f"[red]{name}[/red]: {', '.join(cases[:20])}")
    verdict = "[green]完全一致 exact[/green]" if books.is_exact else f"[red]不一致 not exact[/red]; 日志 logs: {folder}"
    console.print(verdict)
    return 0 if books.is_exact else 1


def _books_table(books: headless.Books, seconds: float) -> Table:
    table = Table(title="按键与归集对账 presses against the collection", show_header=False)
    rows = (
        ("按键 presses", len(books.pressed)),
        ("评价器致谢 thanked by the device", books.thanked),
        ("恰好归集一次 collected exactly once", books.exact),
        ("缺失 missing", len(books.missing)),
        ("重复 doubled", len(books.doubled)),
        ("等级不符 altered", len(books.altered)),
        ("多出 not pressed", len(books.invented)),
        ("签名或链未验证 signature or chain not verified", len(books.unverified)),
        ("仍在途中 still on the way", books.waiting),
        ("证据 evidence, 缺口 gaps", f"{books.evidence}, {books.gaps}"),
        (
            "按键到入库 press to stored, ms",
            f"中位 median {books.median_ms():.0f}, p95 {books.latency_ms(0.95)}, max {books.latency_ms(1)}",
        ),
        ("用时 time, s", f"{seconds:.1f}"),
    )
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def show_page(folder: Path, *, open_browser: bool, port: int = PAGE_PORT, anew: bool = False) -> int:
    """Run with the page until Ctrl-C; return the exit code."""
    console = Console()
    chosen = free_port(port)
    if chosen != port:
        console.print(f"[yellow]端口 {port} 已被占用，改用 {chosen} port {port} is in use, taking {chosen}[/yellow]")
    example_port = free_port(chosen + 1)
    state = PanelState()
    stage = Stage(folder, lambda text: console.print(f"  启动 starting {text}"), state.tell, anew=anew)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    pages: list[_Served] = []
    try:
        stage.start([f"http://{name}:{number}" for number in (chosen, example_port) for name in (HOST, "localhost")])
        assert stage.device is not None  # noqa: S101  # it has just been started
        links = Links(stage.agent_url, stage.agent_token, stage.collector_url)
        pages.append(_Served(make_app(stage.device, state, links, chosen), chosen))
        example = example_app.make_app(stage.agent_url, stage.agent_token, example_port)
        pages.append(_Served(example, example_port))
        url = f"http://{HOST}:{chosen}/"
        console.print(_welcome(url, f"http://{HOST}:{example_port}/", stage, folder))
        if not (open_browser and _open(url)):
            console.print(f"请在浏览器打开 open in a browser: [bold]{url}[/bold]")
        while not stopping.wait(0.5):
            pass
        console.print("正在停止 stopping …")
    finally:
        state.close()
        for page in pages:
            page.stop()
        stage.stop()
    console.print("已停止，数据保留 stopped; the data is kept. 重新开始 to start anew: --reset")
    return 0


class _Served:
    """An application on a loopback port, until `stop`."""

    def __init__(self, app: FastAPI, port: int) -> None:
        listener = socket.create_server((HOST, port))
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="page", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.should_exit = True
        self._thread.join(3.0)


def _open(url: str) -> bool:
    """Open a browser if this looks like a desktop; a text browser would take the terminal away."""
    if os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


def _welcome(url: str, example: str, stage: Stage, folder: Path) -> Panel:
    return Panel(
        "1. 在“窗口电脑”点“发起评价”；2. 按评价器上的按钮；3. 右侧即见归集。\n"
        "   再试：拔数据线、断电、按键、插好——评价一条不少。\n"
        "1. Open an evaluation at the window PC. 2. Press a button on the device. 3. Watch it arrive.\n"
        "   Then try: unplug, cut the power, press, plug in again. Nothing is lost.\n\n"
        f"页面 page         {url}\n业务系统 example  {example}\n"
        f"接口 API          {stage.agent_url}  令牌 token: {folder / 'agent' / 'api-token'}\n"
        f"数据 data         {folder}\n停止 stop         Ctrl-C",
        title="好差评演示 rating demo",
        expand=False,
    )
