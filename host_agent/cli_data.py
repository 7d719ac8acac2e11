"""The commands of `agent` about its data: `export`, `support-bundle`, `db check`, `db repair` and `db waiting`.

Each is a few lines over a module of its own; they work beside a running agent and without one. Those modules are imported by the
command that needs them: an agent that runs for years holds neither a writer of workbooks nor the doctor in its memory.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from host_agent.cli_options import STANDARD_CONFIG, ConfigOption, WindowOption
from host_agent.config import load
from host_agent.errors import AgentError
from host_agent.export import rows
from host_agent.store.database import FILE_NAME
from host_agent.store.reader import count_not_collected, reading
from host_agent.windows import one_of, some_of

db_app = typer.Typer(help="数据库 The database.", no_args_is_help=True)
_DAY = ["%Y-%m-%d"]
Kind = StrEnum("Kind", {name.upper(): name for name in (*rows.KINDS, rows.DAMAGED)})  # type: ignore[misc]  # Typer wants an Enum, and mypy to read its names
Format = StrEnum("Format", {name.upper(): name for name in ("csv", "json", "jsonl", "xlsx")})  # type: ignore[misc]  # as above


class What(StrEnum):
    """What is exported."""

    RECORDS = "records"
    EVALUATIONS = "evaluations"


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command("export")(export)
    app.command("support-bundle")(support_bundle)
    app.add_typer(db_app, name="db")


def export(
    config: ConfigOption = STANDARD_CONFIG,
    window: WindowOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="文件 file; 不写则标准输出 standard output")] = None,
    what: Annotated[What, typer.Option(help="记录或评价 records or evaluations")] = What.RECORDS,
    form: Annotated[
        Format | None, typer.Option("--format", help="格式 format; 默认按文件名，否则 by the file's name by default, else csv")
    ] = None,
    since: Annotated[datetime | None, typer.Option(formats=_DAY, help="起始日（北京时间，含）first day, Beijing time")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DAY, help="截止日（北京时间，含）last day, Beijing time")] = None,
    kind: Annotated[list[Kind] | None, typer.Option(help="记录类型，可多次 kind of record, may be repeated")] = None,
    state: Annotated[
        list[rows.State] | None,
        typer.Option(
            help="记录状态，可多次；waiting 为全部未归集 state of record, may be repeated; waiting is all without receipt"
        ),
    ] = None,
    bom: Annotated[bool, typer.Option("--bom", help="CSV 带 BOM，供 Excel 打开 a byte order mark, for Excel")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="覆盖已有文件 replace a file that is there")] = False,
) -> None:
    """导出本窗口的记录或评价，不含评价等级 Export this window's records or evaluations, never a level.

    代理程序运行与否都可以 Works beside a running agent and without one.
    """
    from host_agent.export.formats import FORMATS, Write, write_csv

    suffix = output.suffix.lower().removeprefix(".") if output is not None else ""
    name = form.value if form is not None else suffix if suffix in FORMATS else "csv"
    if bom and name != "csv":
        raise AgentError(f"--bom 只用于 csv is for csv only, not for {name}")
    if output is None and name == "xlsx":
        raise AgentError("xlsx 须写入文件 xlsx goes to a file: --output FILE.xlsx")
    if what is What.EVALUATIONS and (kind or state):
        raise AgentError("--kind、--state 只用于记录 are for records only: leave them out, or --what records")
    file = one_of(load(config), window).data_dir / FILE_NAME
    if not file.exists():
        raise AgentError(
            f"没有数据库 {file}，代理程序尚未运行过 there is no database: has the agent ever run with this configuration?"
        )
    wanted = rows.Wanted(_day(since), _day(until), frozenset(one.value for one in kind or ()), frozenset(state or ()))
    write: Write = partial(write_csv, bom=bom) if name == "csv" else FORMATS[name]
    titles = rows.RECORD_TITLES if what is What.RECORDS else rows.EVALUATION_TITLES
    read = rows.records if what is What.RECORDS else rows.evaluations
    try:
        with _output(output, overwrite=overwrite) as out, reading(file) as connection:
            count = write(out, titles, read(connection, wanted))
    except sqlite3.Error as error:
        raise AgentError(
            f"数据库无法读取 {file} cannot be read: {error}; 请运行 look at it with: agent db check --config {config}"
        ) from error
    typer.echo(f"已导出 {count} 行 exported {count} rows{'' if output is None else f': {output}'}", err=True)


def support_bundle(
    config: ConfigOption = STANDARD_CONFIG,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="文件 file; 默认 by default: haochaping-support-TIME.zip")
    ] = None,
) -> None:
    """收集诊断资料，供报修 Collect what support asks for: findings, status, configuration, figures of the database.

    不含口令、密钥、评价记录、等级、办件编号、工号 Holds no password, key, record, level, case or staff number.
    配置、数据库、代理程序有故障时也可以 Works also when configuration, database or agent is broken.
    """
    from host_agent.support import write_bundle

    path = output or Path(f"haochaping-support-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip")
    with _output(path, overwrite=False) as out:
        failed = write_bundle(config, out)
    typer.echo(f"已写入 written: {path}")
    if failed:
        typer.echo(f"未能收集，原因在文件中 could not be had, the file says why: {', '.join(failed)}")


@db_app.command("check")
def db_check(config: ConfigOption = STANDARD_CONFIG, window: WindowOption = None) -> None:
    """检查数据库，不作修改 Look whether the database is sound; changes nothing.

    代理程序运行与否都可以 Works beside a running agent. 退出码 exit code: 0 正常 good, 2 有错误 something is wrong.
    """
    from host_agent.doctor.place import is_running
    from host_agent.doctor.show import show
    from host_agent.store import soundness

    folders = [one.data_dir for one in some_of(load(config), window)]
    now_ms = time.time_ns() // 1_000_000
    looks = (soundness.check(folder / FILE_NAME, now_ms, is_running=is_running(folder)) for folder in folders)
    if show(chain.from_iterable(looks)):
        raise typer.Exit(2)


@db_app.command("repair")
def db_repair(
    config: ConfigOption = STANDARD_CONFIG,
    window: WindowOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只说明会怎样 only say what would come of it")] = False,
) -> None:
    """修复数据库，并取回移开的旧库中的记录 Rebuild the database from what is whole in it and in those set aside.

    须先停止代理程序；不删除任何文件 The agent must be stopped; nothing is deleted.
    """
    from host_agent.store import salvage

    done = salvage.repair(one_of(load(config), window).data_dir, dry_run=dry_run)
    if not done.has_work:
        typer.echo("数据库完好，没有移开的旧库，无需修复 whole, and none was set aside: nothing to repair")
        return
    typer.echo(f"来源 from: {', '.join(done.sources)}")
    typer.echo(
        f"记录 records {done.records}，其中找回 rescued {done.added}，待发送 to send {done.to_send}；"
        f"评价 evaluations {done.evaluations}"
    )
    if done.damaged_rows or done.unknown_devices:
        typer.echo(
            f"未能保留 could not be kept: 已损坏 damaged {done.damaged_rows}，"
            f"评价器编号不明 of no known device {done.unknown_devices}"
        )
    for device, first, last in done.missing[:20]:
        typer.echo(f"缺号 missing: {device} {first}..{last}，连接该评价器后自动补取 asked for when that device is connected")
    if dry_run:
        typer.echo("以上为预演，未作修改 nothing was changed")
    else:
        typer.echo(f"已修复；原文件保留为 repaired; what it was made from stays as: {', '.join(done.kept_aside)}")
        typer.echo("下一步 next: 启动代理程序 start the agent")


@db_app.command("waiting")
def db_waiting(
    config: ConfigOption = STANDARD_CONFIG,
    folder: Annotated[
        Path | None,
        typer.Option("--in", help="数据目录，代替配置 a folder with data, in place of what a configuration names"),
    ] = None,
) -> None:
    """删除数据前：有多少条记录尚未归集 Before data is deleted: how many records are not collected yet, of all windows.

    代理程序运行与否都可以 Works beside a running agent. 退出码 exit code: 0 没有 none, 2 有 some, 1 无法读取 cannot be read.
    """
    place = load(config).data_dir if folder is None else folder
    try:
        count = count_not_collected(place)
    except (OSError, sqlite3.Error) as error:
        raise AgentError(f"{place} 无法读取 cannot be read: {error}; 请运行 look at it with: agent db check") from error
    if count:
        typer.echo(
            f"{place} 中有 {count} 条记录尚未归集，请接通网络让代理程序运行至归集完毕 records there are not collected yet:"
            " let the agent run with its network until they are"
        )
        raise typer.Exit(2)
    typer.echo("全部已归集 everything is collected")


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


@contextlib.contextmanager
def _output(path: Path | None, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Give a file to write to; it has its name only when it is whole, and is its owner's alone: case numbers are in it."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not overwrite:
        raise AgentError(f"文件已存在，未作修改 {path} is there already, nothing was changed; another name, or --overwrite")
    part = path.with_name(path.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600), "wb") as out:
            yield out
        os.replace(part, path)
    except OSError as error:
        raise AgentError(f"文件无法写入 {path}: {error.strerror} cannot be written; check folder, rights and disk") from error
    finally:
        part.unlink(missing_ok=True)
