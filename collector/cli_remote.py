"""The commands with which the IT department asks windows from afar: a window's remote key, and asking."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from collector import config as configuration
from collector.cli_options import ConfigOption, write_key
from collector.errors import AskError
from collector.remote.asking import ask_window
from collector.remote.ledger import Ledger
from collector.remote.show import show
from protocol.errors import PayloadError
from protocol.payloads import Payload
from protocol.remote import ARGUMENTS, Asked
from protocol.signing import derive_remote_key
from protocol.topics import Window

TIMEOUT_S = 15.0
WindowArgument = Annotated[str, typer.Argument(metavar="AREA/HALL/WINDOW", help="窗口 the window: 533103/dating/07")]


class Kind(Enum):
    """What can be asked, as it is typed."""

    STATUS = "status"
    LOG = "log"
    RECORDS = "records"
    RESTART_LINK = "restart-link"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("remote-key")(remote_key)
    app.command("ask")(ask)


def remote_key(
    window: WindowArgument,
    config: ConfigOption,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="写入新文件，不写则显示 a new file for it; shown without one")
    ] = None,
) -> None:
    """窗口的远程密钥，放到该窗口电脑上，它才答复询问 A window's remote key: on its PC, it lets the agent answer when it is asked."""
    key = _key(configuration.load(config), _window(window))
    if output is None:
        typer.echo(key.hex())
        return
    write_key(output, key.hex())
    typer.echo(f"已生成 made {output}；放到窗口电脑 {window}，写入配置 put it on that PC and name it there: [remote] key_file")


def ask(
    window: WindowArgument,
    kind: Annotated[
        Kind,
        typer.Argument(
            help="status 状态；log 日志；records 重新发送记录 send records again；restart-link 重新连接评价器 link the device anew"
        ),
    ],
    config: ConfigOption,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="log：行数 how many lines; 100")] = None,
    device: Annotated[str | None, typer.Option(help="records：评价器编号 the device")] = None,
    first: Annotated[int | None, typer.Option(min=1, help="records：首条编号 the first record's number")] = None,
    last: Annotated[
        int | None, typer.Option(min=1, help="records：末条编号，不写则只有一条 the last one's; without it, one record")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="等待秒数 seconds to wait")] = TIMEOUT_S,
    as_json: Annotated[bool, typer.Option("--json", help="JSON 输出 output as JSON")] = False,
) -> None:
    """询问窗口的代理程序；记入 asked.jsonl Ask a window's agent how it is; who asked what is kept in asked.jsonl in data_dir.

    窗口电脑上须有密钥，消息服务器上须有权限 It takes the key on the window PC and the right at the broker: docs/operations.md.
    """
    loaded, place, asked = configuration.load(config), _window(window), Asked[kind.name]
    arguments = _arguments(asked, {"lines": lines, "device": device, "first_seq": first, "last_seq": last or first})
    key, login = _key(loaded, place), loaded.asker()
    with Ledger(loaded.data_dir).noting(place, asked, arguments) as note:
        body = ask_window(login, place, key, asked, arguments, timeout)
        note("ok")
    if as_json:
        typer.echo(json.dumps(body, ensure_ascii=False))
    else:
        show(Console(), asked, body)


def _window(text: str) -> Window:
    parts = text.split("/")
    try:
        return Window(*parts)
    except (PayloadError, TypeError):
        raise AskError(f"窗口有误 no window: {text!r}; 应为 it is AREA/HALL/WINDOW, 533103/dating/07") from None


def _key(config: configuration.Config, window: Window) -> bytes:
    hall = f"{window.area}/{window.hall}"
    section = config.halls.get(hall)
    if section is None:
        raise AskError(f'没有此大厅的密钥 the configuration has no key of that hall: add [halls."{hall}"]')
    return derive_remote_key(configuration.read_hall_key(section.key_file), window)


def _arguments(asked: Asked, given: dict[str, int | str | None]) -> Payload:
    """Return what goes with the request; AskError for an option that is missing or belongs to another kind."""
    model = ARGUMENTS[asked]
    options = {"lines": "--lines", "device": "--device", "first_seq": "--first", "last_seq": "--last"}
    present = {name: value for name, value in given.items() if value is not None}
    for name in present:
        if name not in model.model_fields:
            raise AskError(f"{options[name]} 不适用 does not go with {asked.value.replace('_', '-')}")
    for name, field in model.model_fields.items():
        if field.is_required() and name not in present:
            raise AskError(f"缺少 {options[name]} is missing")
    try:
        return model.from_json(json.dumps(present).encode())
    except PayloadError as error:
        raise AskError(f"参数有误 this cannot be asked: {error}") from error
