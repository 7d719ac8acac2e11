"""The command `agent`: run it, ask how it is.

Chinese first, English beside. Every error is one sentence on standard error and a non-zero exit code.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
import urllib.error
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from host_agent import cli_data, config_file
from host_agent.asking import ask
from host_agent.cli_options import STANDARD_CONFIG, ConfigOption, WindowOption
from host_agent.config import Config, load
from host_agent.doctor import check, examine
from host_agent.doctor.show import show
from host_agent.errors import AgentError
from host_agent.service import linux, windows
from host_agent.service.notify import Notifier
from host_agent.tail import lines as tail_lines
from host_agent.windows import one_of, some_of
from protocol.errors import PayloadError
from protocol.topics import Window

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
config_app = typer.Typer(help="配置 The configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
service_app = typer.Typer(help="系统服务 The agent as a service of the operating system.", no_args_is_help=True)
app.add_typer(service_app, name="service")
cli_data.add_to(app)
RootOption = Annotated[Path, typer.Option(help="装入另一系统根目录，只放文件 another root: only files are put there")]
service = windows if sys.platform == "win32" else linux


@app.callback()
def _root() -> None:
    """评价器窗口代理程序 The rating agent of one window."""


@app.command()
def run(config: ConfigOption = STANDARD_CONFIG) -> None:
    """运行 Run until Ctrl-C or a stop signal. Prints `ready URL` when the local API answers."""
    from host_agent.service.running import Running  # here: the other commands start a quarter sooner without the server

    settings = load(config)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    running = Running(settings)
    manager = Notifier()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: running.stop())

    def ready(url: str) -> None:
        typer.echo(f"ready {url}")
        manager.ready()

    running.run(ready, manager.beat, manager.stopping)


@app.command()
def status(config: ConfigOption = STANDARD_CONFIG, window: WindowOption = None) -> None:
    """状态 Show how the running agent is, at each window of this PC."""
    console = Console()
    is_good = True
    for one in some_of(load(config), window):
        try:
            report = ask(one.data_dir)
        except PermissionError as error:
            raise AgentError(f"无权读取令牌文件 no right to read {error.filename}; run this as the agent's account") from error
        except (OSError, ValueError) as error:
            raise AgentError("代理程序未运行，请先启动 the agent is not running; start it: agent run --config …") from error
        console.print(_table(report))
        is_good &= not any(report[name] for name in ("link_trouble", "device_trouble", "broker_trouble", "store_trouble"))
    if not is_good:
        raise typer.Exit(2)


@app.command()
def tail(
    config: ConfigOption = STANDARD_CONFIG,
    window: WindowOption = None,
    count: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="显示多少行后结束 end after so many lines")] = None,
) -> None:
    """跟踪：实时显示线路上的每一帧和窗口事件，不显示等级 Show every frame on the line and every event as they happen, never a level.

    Ctrl-C 结束 ends it. 收发 sent and received: → 发往评价器 to the device, ← 来自评价器 from it, * 窗口事件 event of the window.
    """
    for line in islice(tail_lines(one_of(load(config), window).data_dir), count):
        typer.echo(line)
    if count is None:
        typer.echo("代理程序已停止 the agent has stopped", err=True)


@app.command()
def init(
    config: ConfigOption = STANDARD_CONFIG,
    area: Annotated[
        str | None, typer.Option(help="6 位行政区划代码 division code; 缺少的会询问 what is missing is asked")
    ] = None,
    hall: Annotated[str | None, typer.Option(help="大厅 hall: A-Z a-z 0-9 _ -")] = None,
    window: Annotated[str | None, typer.Option(help="窗口号 window number")] = None,
    broker: Annotated[str | None, typer.Option(help="消息服务器 broker: HOST 或 or HOST:PORT")] = None,
    ca_file: Annotated[str | None, typer.Option(help="内部 CA 证书，启用 TLS  a private CA's certificate, for TLS")] = None,
    tls: Annotated[bool, typer.Option("--tls", help="公共 CA 的 TLS  TLS with a public CA")] = False,
    username: Annotated[str | None, typer.Option(help="用户名 user name; 默认为窗口路径 the window's path by default")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="从标准输入读口令 read the password there")] = False,
    device_port: Annotated[
        str | None, typer.Option(help="评价器串口 the device's port; 不写则自动寻找 found if left out")
    ] = None,
) -> None:
    """建立配置文件 Make the configuration; asks what is missing, overwrites nothing."""
    if config.exists():  # before anything is asked
        raise AgentError(f"文件已存在，未作修改 {config} is there already, nothing was changed; move it away first")
    place = _window(
        _answer(area, "行政区划代码（6 位）division code", "--area"),
        _answer(hall, "大厅 hall (A-Z a-z 0-9 _ -)", "--hall"),
        _answer(window, "窗口号 window", "--window"),
    )
    is_tls = tls or ca_file is not None
    host, port = _host_port(_answer(broker, "消息服务器 broker (HOST 或 or HOST:PORT)", "--broker"), 8883 if is_tls else 1883)
    password = None
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif _is_somebody_there():
        password = typer.prompt(
            "消息服务器口令，没有则回车 the broker's password, if any", "", hide_input=True, show_default=False
        )
    user = username or (place.path if password else None)
    # where Linux keeps such data, when the configuration is where Linux keeps those
    data_dir = "/var/lib/haochaping" if config.parent == Path("/etc/haochaping") else "data"
    answers = config_file.Answers(place, host, port, tls, ca_file, user, password or None, device_port, data_dir)
    made = config_file.write(config, answers)
    typer.echo(f"已建立 made: {', '.join(str(path) for path in made)}")
    typer.echo(f"下一步 next: agent config check --config {config}")


@config_app.command("check")
def config_check(config: ConfigOption = STANDARD_CONFIG, window: WindowOption = None) -> None:
    """检查配置：文件、目录、串口、消息服务器 Check the configuration: the file, directory, port and broker."""
    if show(chain.from_iterable(check(one) for one in some_of(load(config), window))):
        raise typer.Exit(2)


@config_app.command("add-window")
def config_add_window(
    window: Annotated[str, typer.Option(help="窗口号 window number")],
    device: Annotated[str, typer.Option(help="评价器编号，在标签上 the device's id, on its label")],
    config: ConfigOption = STANDARD_CONFIG,
    username: Annotated[
        str | None, typer.Option(help="消息服务器用户名 user name at the broker; 不写则与第一窗口相同 as the first window's")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="从标准输入读口令 read the password there")] = False,
) -> None:
    """本机增加一个窗口，写在配置文件末尾 Add another window at this PC, at the end of the configuration."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    further = config_file.further_window(window, device, username)
    made = config_file.add_window(config, further, password)
    typer.echo(f"已写入 written: {', '.join(str(path) for path in made)}")
    typer.echo(f"下一步：检查后重新启动 next: check, then restart: agent config check --config {config}")


@app.command()
def doctor(config: ConfigOption = STANDARD_CONFIG, window: WindowOption = None) -> None:
    """诊断：逐项检查本机、评价器、消息服务器，并说明处理办法 Look at PC, device and broker step by step, and say what to do.

    退出码 exit code: 0 正常 nothing to do, 2 有错误 something is wrong.
    """
    if show(chain.from_iterable(examine(one, _report(one)) for one in some_of(load(config), window))):
        raise typer.Exit(2)


def _report(one: Config) -> dict[str, Any] | None:
    """Return what the running agent says of itself, None when it says nothing."""
    try:
        return ask(one.data_dir)
    except (OSError, ValueError):
        return None


@service_app.command("install")
def service_install(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="不写则用服务现有的，或标准位置 by default the service's own, or the standard place"
        ),
    ] = None,
    root: RootOption = Path("/"),
    prepared: Annotated[
        Path | None,
        typer.Option(
            "--from", help="没有配置时，取用事先准备的文件或文件夹 taken if there is no configuration: a file or folder"
        ),
    ] = None,
) -> None:
    """安装并启动服务，可重复执行 Install the service and start it; may be repeated."""
    config = config or service.installed_config(root) or STANDARD_CONFIG
    if prepared is not None and not config.exists():
        if sys.platform == "win32" and config == STANDARD_CONFIG:
            windows.secure_home()
        for file in config_file.adopt(prepared, config):
            typer.echo(f"已取用 taken: {file}")
    for file in service.install(config, load(config), root):
        typer.echo(f"已写入 written: {file}")
    typer.echo(f"已安装 installed. 状态 state: agent service status, agent doctor --config {config}")


@service_app.command("remove")
def service_remove(root: RootOption = Path("/")) -> None:
    """停止并移除服务，保留配置和数据 Stop the service and remove it; configuration and data stay."""
    removed = service.remove(root)
    for file in removed:
        typer.echo(f"已删除 removed: {file}")
    if not removed:
        typer.echo("服务未安装 the service is not installed")


@service_app.command("stop")
def service_stop() -> None:
    """停止服务，下次开机时再启动 Stop the service; it starts again with the machine."""
    typer.echo("已停止 stopped" if service.stop() else "服务未安装 the service is not installed")


@service_app.command("status")
def service_status() -> None:
    """服务状态 Show how the service is; exit code 0 only when it is active."""
    word = service.state()
    typer.echo(word)
    if word != "active":
        raise typer.Exit(2)


def _answer(value: str | None, question: str, option: str) -> str:
    """Return what was given, or ask; without anybody to ask, say which option is missing."""
    if value is not None:
        return value
    if not _is_somebody_there():
        raise AgentError(f"缺少 {option} is missing: {question}")
    return str(typer.prompt(question))


def _is_somebody_there() -> bool:
    """Tell whether questions can be answered."""
    if sys.platform == "win32":  # where NUL is a terminal, says Python
        import win32console

        try:
            win32console.GetStdHandle(win32console.STD_INPUT_HANDLE).GetConsoleMode()  # type: ignore[no-untyped-call]  # so it is in its stubs
        except (win32console.error, AttributeError):
            return False
    return sys.stdin.isatty()


def _window(area: str, hall: str, window: str) -> Window:
    try:
        return Window(area.strip(), hall.strip(), window.strip())
    except PayloadError as error:
        raise AgentError(f"窗口有误 the window is wrong: {error}") from error


def _host_port(text: str, usual: int) -> tuple[str, int]:
    host, colon, port = text.strip().partition(":")
    if not host or (colon and not (port.isdecimal() and 0 < int(port) < 1 << 16)):
        raise AgentError(f"消息服务器地址有误 the broker's address is wrong: {text!r}; 应为 it is HOST 或 or HOST:PORT")
    return host, int(port) if colon else usual


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"窗口 window {report['window']}", show_header=False)
    release = "代理回执即释放，弱保证 released by the agent's ack: weaker" if report["release_on_ack"] else ""
    rows = (
        ("评价器 device", f"{report['device'] or '—'} {report['firmware'] or ''} {release}".strip()),
        *([("评价器不符 another device", report["device_trouble"])] if report["device_trouble"] else []),
        ("连接 link", _link(report)),
        ("心跳 heartbeat", _heartbeat(report)),
        ("评价器时钟 its clock", _clock(report)),
        ("工作人员 staff", f"{report['staff'] or '—'}{' 暂停服务 paused' if report['paused'] else ''}"),
        ("正在评价 being asked", report["evaluation"] or "—"),
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


def _heartbeat(report: dict[str, Any]) -> str:
    if report["device_heard_ms"] is None:
        return "—"
    return f"{report['device_heard_ms'] / 1000:.1f} s，开机 up for {_duration(report['device_uptime_ms'])}"


def _clock(report: dict[str, Any]) -> str:
    ahead_ms, ppm = report["clock_ahead_ms"], report["clock_ppm"]
    ahead = "未校时 not set" if ahead_ms is None else f"与本机相差 against this PC {ahead_ms:+,} ms"
    return "—" if report["device_heard_ms"] is None else ahead + ("" if ppm is None else f"，快慢 rate {ppm:+} ppm")


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
    past = (
        f"; 曾损坏，旧库已移开，可取回记录 damaged before, set aside, take its records back: agent db repair: {aside}"
        if aside
        else ""
    )
    size = f"{report['database_bytes'] / 1e6:,.1f} MB"
    return f"{report['store_trouble'] or '正常 good'}, {size}{past}"


def _number(value: int | None) -> str:
    return "—" if value is None else str(value)


def main() -> None:
    """Run the command; errors become one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a Windows that is not Chinese has no characters for what we say
    try:
        app()
    except AgentError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
    except urllib.error.URLError as error:
        typer.echo(f"无法连接 cannot be reached: {error.reason}", err=True)
        sys.exit(1)
