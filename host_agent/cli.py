"""The command `agent`: run it, ask how it is.

Chinese first, English beside. Every error is one sentence on standard error and a non-zero exit code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from host_agent.agent import Agent
from host_agent.api.server import HOST, PORT_FILE, TOKEN_FILE, ApiServer
from host_agent.config import load
from host_agent.errors import AgentError

app = typer.Typer(help="评价器窗口代理程序 The rating agent of one window.", no_args_is_help=True, add_completion=False)
LINK_WORDS = {
    "searching": "正在寻找评价器",
    "opening": "正在打开串口",
    "asking": "已呼叫，等待应答",
    "silent": "评价器不再应答，正在重新呼叫",
    "refused": "协议版本不符",
    "identified": "已识别，等待数据库",
    "talking": "正常",
}
"""Every state of the link by the word that the API gives; what to do about it is in the trouble beside it."""
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="配置文件 the configuration (TOML)")]


@app.callback()
def _root() -> None:
    """评价器窗口代理程序 The rating agent of one window."""


@app.command()
def run(config: ConfigOption) -> None:
    """运行 Run until Ctrl-C or a stop signal. Prints `ready URL` when the local API answers."""
    settings = load(config)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    os.umask(0o077)  # the database holds ratings: not for whoever else works at this PC
    agent = Agent(settings)
    server = ApiServer(agent, settings.data_dir, settings.api.port, settings.api.origins)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: agent.stop())
    server.start()
    typer.echo(f"ready {server.url}")
    try:
        agent.run()
    finally:
        server.stop()


@app.command()
def status(config: ConfigOption) -> None:
    """状态 Show how the running agent is."""
    settings = load(config)
    console = Console()
    try:
        report = _ask(settings.data_dir)
    except PermissionError as error:
        raise AgentError(f"无权读取令牌文件 no right to read {error.filename}; run this as the agent's account") from error
    except (OSError, ValueError) as error:
        raise AgentError("代理程序未运行，请先启动 the agent is not running; start it: agent run --config …") from error
    console.print(_table(report))
    if report["link_trouble"] or report["broker_trouble"] or report["store_trouble"]:
        raise typer.Exit(2)


def _ask(folder: Path) -> dict[str, Any]:
    port = (folder / PORT_FILE).read_text(encoding="ascii").strip()
    token = (folder / TOKEN_FILE).read_text(encoding="ascii").strip()
    address = f"http://{HOST}:{port}/v1/status"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})  # http, on loopback
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        report: dict[str, Any] = json.load(answer)
        return report


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"窗口 window {report['window']}", show_header=False)
    release = "代理回执即释放，弱保证 released by the agent's ack: weaker" if report["release_on_ack"] else ""
    rows = (
        ("评价器 device", f"{report['device'] or '—'} {report['firmware'] or ''} {release}".strip()),
        ("连接 link", _link(report)),
        ("工作人员 staff", f"{report['staff'] or '—'}{' 暂停服务 paused' if report['paused'] else ''}"),
        ("异常 conditions", ", ".join(report["conditions"]) or "无 none"),
        ("评价器待回执 in the device, no receipt yet", _number(report["journal_waiting"])),
        ("评价器剩余 room in the device", _number(report["journal_free"])),
        ("待发送 to send", str(report["outbox_to_send"])),
        ("已发送待回执 sent, no receipt yet", str(report["outbox_sent"])),
        ("最久等待 the oldest waits for", _duration(report["oldest_waiting_ms"])),
        ("消息服务器 broker", _broker(report)),
        ("数据库 database", _database(report)),
        ("计数 counters", ", ".join(f"{name} {count}" for name, count in report["counters"].items()) or "—"),
    )
    for name, value in rows:
        table.add_row(name, value)
    return table


def _link(report: dict[str, Any]) -> str:
    port, trouble = report["port"] or "", report["link_trouble"] or ""
    words = LINK_WORDS.get(report["link"], "")
    return " ".join(part for part in (words, report["link"], "" if port in trouble else port, trouble) if part)


def _duration(waited_ms: int | None) -> str:
    if waited_ms is None:
        return "—"
    minutes, seconds = divmod(waited_ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _broker(report: dict[str, Any]) -> str:
    connected = "已连接 connected " if report["broker_connected"] else ""
    return f"{connected}{report['broker_trouble'] or ''}".strip()


def _database(report: dict[str, Any]) -> str:
    aside = ", ".join(report["databases_set_aside"])
    past = f"; 曾损坏，旧库已移开，查看后可删除 damaged before, set aside, delete after a look: {aside}" if aside else ""
    return f"{report['store_trouble'] or '正常 good'}{past}"


def _number(value: int | None) -> str:
    return "—" if value is None else str(value)


def main() -> None:
    """Run the command; errors become one sentence and exit code 1."""
    try:
        app()
    except AgentError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except urllib.error.URLError as error:
        typer.echo(f"无法连接 cannot be reached: {error.reason}", err=True)
        sys.exit(1)
