"""What a window answered, for a person: Chinese first, one line for each thing. Whatever the window sent, it is only ever text."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from protocol.remote import Asked

_ROWS = (
    ("agent", "代理程序 agent"),
    ("device", "评价器 device"),
    ("firmware", "固件 firmware"),
    ("device_trouble", "评价器不符 another device"),
    ("link", "连接 link"),
    ("port", "串口 port"),
    ("link_trouble", "连接问题 trouble"),
    ("paused", "暂停服务 paused"),
    ("conditions", "异常 conditions"),
    ("device_heard_ms", "心跳（毫秒前） last heard, ms ago"),
    ("device_uptime_ms", "评价器开机（毫秒） its uptime, ms"),
    ("clock_ahead_ms", "评价器时钟差（毫秒） its clock is ahead by, ms"),
    ("clock_ppm", "评价器时钟快慢 its clock's rate, ppm"),
    ("journal_waiting", "评价器待回执 in the device, no receipt yet"),
    ("journal_free", "评价器剩余 room in the device"),
    ("outbox_to_send", "待发送 to send"),
    ("outbox_sent", "已发送待回执 sent, no receipt yet"),
    ("oldest_waiting_ms", "最久等待（毫秒） the oldest waits for, ms"),
    ("broker_trouble", "消息服务器 broker"),
    ("store_trouble", "数据库 database"),
    ("database_bytes", "数据库字节 bytes in use"),
    ("databases_set_aside", "移开的旧库 databases set aside"),
    ("counters", "计数 counters"),
)


def show(console: Console, asked: Asked, body: dict[str, Any]) -> None:
    """Print the body of an answer."""
    if asked is Asked.STATUS:
        console.print(_status(body))
    elif asked is Asked.LOG:
        for line in _list(body.get("lines")):
            console.print(_text(line), soft_wrap=True)
    elif asked is Asked.RECORDS:
        console.print(
            _text(
                f"重新发送 sent again: {body.get('sent_again')}；已向评价器索取 asked of the device: {body.get('asked_of_device')}；"
                f"两处都没有 in neither: {body.get('nowhere')}"
            )
        )
    else:
        console.print(
            _text(f"已放开串口，正在重新寻找评价器 the port was let go and the device is looked for; it was {body.get('was')}")
        )


def _status(body: dict[str, Any]) -> Table:
    table = Table(title=_text(f"窗口 window {body.get('window')}"), show_header=False)
    for name, words in _ROWS:
        value = body.get(name)
        if value not in (None, [], False, ""):
            table.add_row(words, _text(_words(value)))
    return table


def _words(value: Any) -> str:
    if value is True:
        return "是 yes"
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> Text:
    # neither markup of ours nor escapes of theirs: it is printed on somebody's terminal
    return Text("".join(one if one.isprintable() else "?" for one in str(value)))
