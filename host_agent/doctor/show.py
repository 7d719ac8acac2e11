"""Findings on a terminal, one line each."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from host_agent.doctor.finding import Finding, Grade

_STYLES = {Grade.OK: "green", Grade.WARN: "yellow", Grade.FAIL: "bold red"}


def show(findings: Iterable[Finding]) -> bool:
    """Print each finding as it is made; tell whether one of them is a failure."""
    failed = False
    console = Console()
    for finding in findings:
        failed |= finding.grade is Grade.FAIL
        line = Text(f"{finding.grade.value}  ", _STYLES[finding.grade]) + Text(f"{finding.what}: {finding.text}", "")
        console.print(line, soft_wrap=True)
    return failed
