"""What the running agent says of itself, put as findings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from host_agent.doctor.finding import Finding, Grade

RECEIPT_WITHIN_MS = 600_000
FEW_FREE = 100
MOST_AHEAD_MS = 5000
MOST_PPM = 150
"""Crystals of boards are sold as good to 30 or 50; a PC's is no better."""


def agent(report: dict[str, Any] | None, *, is_running: bool) -> Finding:
    """Look whether the agent runs and answers."""
    what = "代理程序 agent"
    if report is not None:
        return Finding(what, Grade.OK, f"正在运行 running, {report['agent']}")
    if is_running:
        return Finding(
            what,
            Grade.FAIL,
            "正在运行但不应答，请重新启动 runs and does not answer (or this account may not ask): start it again",
        )
    return Finding(what, Grade.WARN, "未运行，请启动 not running: start it")


def device(report: dict[str, Any]) -> Iterator[Finding]:
    """Look at the link and at what the device says."""
    what = "评价器 device"
    if report["link"] != "talking":
        why = report["link_trouble"] or "正在寻找，请检查连线 it is looked for: check the cable"
        yield Finding(what, Grade.FAIL, f"{report['link']}: {why}")
        return
    yield Finding(what, Grade.OK, f"{report['device']}，固件 firmware {report['firmware']}，{report['port']}")
    if report["device_trouble"]:
        yield Finding(what, Grade.FAIL, report["device_trouble"])
    if report["conditions"]:
        yield Finding(
            what, Grade.WARN, f"评价器报告异常，请联系运维 it reports: {', '.join(report['conditions'])}; call the technician"
        )
    ahead_ms, ppm = report["clock_ahead_ms"], report["clock_ppm"]
    if ahead_ms is not None and abs(ahead_ms) > MOST_AHEAD_MS:
        yield Finding(
            what,
            Grade.WARN,
            f"时钟与本机相差 its clock is {ahead_ms / 1000:+.1f} s from this PC's: 应自动校准，请重新插拔 it is set again and again; "
            "if this stays, unplug it and plug it in again",
        )
    if ppm is not None and abs(ppm) > MOST_PPM:
        yield Finding(
            what,
            Grade.WARN,
            f"晶振偏差 {ppm:+} ppm 过大，请联系运维 its crystal is off by more than {MOST_PPM}: call the technician",
        )
    if report["journal_free"] is not None and report["journal_free"] < FEW_FREE:
        yield Finding(
            what,
            Grade.WARN,
            f"只剩 {report['journal_free']} 条空间，请检查归集 room for few records is left: see that they are collected",
        )


def delivery(report: dict[str, Any]) -> Iterator[Finding]:
    """Look whether records get away and their receipts come."""
    what = "归集 delivery"
    if not report["broker_connected"]:
        why = report["broker_trouble"] or "尚未连接 not connected yet"
        yield Finding(what, Grade.FAIL, why)
    elif report["broker_trouble"]:
        yield Finding(what, Grade.WARN, report["broker_trouble"])
    elif (report["oldest_waiting_ms"] or 0) > RECEIPT_WITHIN_MS:
        yield Finding(
            what,
            Grade.FAIL,
            "记录已发送但没有回执，请检查归集程序 records go out and no receipt comes: does the collector run, with the hall's key?",
        )
    else:
        waiting = report["outbox_to_send"] + report["outbox_sent"]
        yield Finding(what, Grade.OK, f"已连接 connected，待回执 {waiting} 条 waiting for receipts")
    if report["store_trouble"]:
        yield Finding("数据库 database", Grade.FAIL, report["store_trouble"])
    if report["database_bytes"] > report["database_most_bytes"] and report["outbox_to_send"] + report["outbox_sent"]:
        yield Finding(
            "数据库 database",
            Grade.WARN,
            f"{report['database_bytes'] / 1e6:,.0f} MB 超过 is more than max_database_mb = "
            f"{report['database_most_bytes'] / 1e6:,.0f}，未归集的记录仍全部保留，请恢复归集 what is not collected is kept all the "
            "same: see that the collection works",
        )
