"""The command line: run the collector, look at a running one, make a hall key.

Words are Chinese first, English beside. Every foreseeable failure is one sentence on stderr and exit code 1.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from collector import cli_remote
from collector import config as configuration
from collector.cli_options import ConfigOption, write_key
from collector.errors import CollectorError, NotRunningError
from protocol.levels import Level
from protocol.signing import KEY_BYTES

app = typer.Typer(no_args_is_help=True, add_completion=False, help="归集程序 The collector of ratings")
hall_key = typer.Typer(no_args_is_help=True, help="大厅密钥 Hall keys")
app.add_typer(hall_key, name="hall-key")
cli_remote.add_to(app)
ASK_S = 5.0
WEAKER = "（代理回执即释放，弱保证 released by the agent's ack: weaker）"


@app.command()
def run(config: ConfigOption) -> None:
    """运行归集程序，直到停止 Run the collector until it is stopped."""
    from collector.service import Service  # the other commands start without the database and the pages

    loaded = configuration.load(config)
    logging.basicConfig(
        level=loaded.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    service = Service(loaded)
    service.stop_on_signals()
    service.run()


@app.command()
def status(config: ConfigOption) -> None:
    """查看运行状况 Show how the running collector stands."""
    loaded = configuration.load(config)
    show(Console(), _ask(loaded.http.host, loaded.http.port or _port_in_use(loaded.data_dir)))


@hall_key.command("new")
def new_hall_key(file: Annotated[Path, typer.Argument(help="新密钥文件 file to be made")]) -> None:
    """生成大厅密钥，不覆盖已有文件 Make a hall key; an existing file is never overwritten."""
    write_key(file, secrets.token_hex(KEY_BYTES))
    typer.echo(f"已生成 made {file}；请离线备份 keep a copy offline")


def main() -> None:
    """Run the command line; the entry point of the package."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a GBK console has no character for everything
    try:
        app()
    except CollectorError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from None


def _port_in_use(data_dir: Path) -> int:
    """Return the port that a collector configured with port 0 has picked."""
    try:
        return int((data_dir / configuration.PORT_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise NotRunningError(
            "归集程序没有运行 the collector is not running；请先启动 start it with: collector run --config FILE"
        ) from error


def _ask(host: str, port: int) -> dict[str, Any]:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/api/v1/summary"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on loopback
    try:
        with opener.open(address, timeout=ASK_S) as answer:
            summary: dict[str, Any] = json.load(answer)
            return summary
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise NotRunningError(
            f"归集程序没有运行 no collector answers at {address} ({reason})；"
            "请先启动 start it with: collector run --config FILE"
        ) from error


def show(console: Console, summary: dict[str, Any]) -> None:
    """Print a summary on one screen."""
    levels = Table(title="评价 Ratings", title_justify="left")
    for level in sorted(Level, reverse=True):
        levels.add_column(level.chinese, justify="right")
    levels.add_row(*[f"{summary['levels'][level.word]:,}" for level in sorted(Level, reverse=True)])
    console.print(levels)

    devices = Table(title="评价器 Devices", title_justify="left")
    for title in ("评价器 device", "窗口 window", "已归集至 whole up to", "缺口 gaps"):
        devices.add_column(title, overflow="fold")
    for item in summary["devices"]:
        whole = str(item["next_seq"] - 1) if item["next_seq"] else "等待起始记录 waiting for its start"
        devices.add_row(item["device"], item["place"], whole, f"[red]{item['gaps']}[/red]" if item["gaps"] else "0")
    console.print(devices)

    windows = Table(title="窗口 Windows", title_justify="left")
    for title in ("窗口 window", "代理 agent", "评价器 device", "待传 device", "待传 agent"):
        windows.add_column(title, overflow="fold")
    for item in summary["windows"]:
        waiting = ("-" if item[name] is None else str(item[name]) for name in ("waiting_device", "waiting_agent"))
        windows.add_row(
            item["place"],
            "[green]在线 online[/green]" if item["online"] else "[red]离线 offline[/red]",
            (item["device"] or "-") + (WEAKER if item["release_on_ack"] else ""),
            *waiting,
        )
    console.print(windows)

    wrong = {kind: count for kind, count in summary["evidence"].items() if count}
    console.print("异常 Evidence:", ", ".join(f"[red]{kind} {count}[/red]" for kind, count in wrong.items()) or "无 none")
    console.print("本次运行 Since start:", ", ".join(f"{name} {count}" for name, count in summary["ingest"].items()) or "-")
    if not summary["broker"]:
        console.print("[red]未连接消息服务器 The broker is not connected[/red]")
