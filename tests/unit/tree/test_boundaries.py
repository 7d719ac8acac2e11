"""Imports go one way between the rooms, and the tree is what the design card says."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("protocol", "firmware", "host_agent", "collector", "simulator", "tools", "tests")
MAY_IMPORT = {
    "protocol": set[str](),
    "firmware": set[str](),
    "host_agent": {"protocol"},
    "collector": {"protocol"},
    "simulator": {"protocol", "firmware", "host_agent", "collector"},
    "tools": {"protocol", "firmware", "host_agent", "collector", "simulator"},
}
TOP_LEVEL = {
    *ROOMS,
    "docs",
    "run.py",
    "pyproject.toml",
    "README.md",
    "README.zh-CN.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
}
FIRMWARE_MAY_IMPORT = {
    "binascii", "gc", "hashlib", "json", "machine", "micropython", "os", "rp2", "select", "struct", "sys", "time",
    "evaluator", "boards", "vfs", "errno", "uctypes",
}  # fmt: skip
PURE = (
    "protocol/framing.py", "protocol/messages.py", "protocol/record.py", "protocol/signing.py", "protocol/topics.py",
    "protocol/remote.py", "host_agent/remote/gate.py", "host_agent/remote/acts.py",
    "host_agent/link/conversation.py", "host_agent/link/events.py", "host_agent/link/handover.py",
    "host_agent/link/device_clock.py", "host_agent/link/attachment.py", "host_agent/link/search.py", "host_agent/evaluations.py",
    "host_agent/absences.py", "host_agent/notices.py", "host_agent/service/changes.py", "host_agent/uplink/repeated.py",
    "host_agent/uplink/delivery.py", "host_agent/uplink/takeover.py", "collector/ingest/verify.py", "collector/ingest/receipts.py",
    "collector/pages/presence.py",
)  # fmt: skip
IMPURE_MODULES = {"threading", "socket", "time", "subprocess", "asyncio", "queue", "serial", "sqlite3"}


def imported(path: Path) -> set[str]:
    """Return the first name of everything a module imports absolutely."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        ours = imported(file) & set(ROOMS) - {room}
        assert ours <= MAY_IMPORT[room], f"{file.relative_to(ROOT)} imports {ours - MAY_IMPORT[room]}"


def test_firmware_imports_only_what_stock_micropython_has() -> None:
    for file in sorted((ROOT / "firmware").rglob("*.py")):
        foreign = imported(file) - FIRMWARE_MAY_IMPORT
        assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize("module", PURE)
def test_a_pure_core_has_no_clock_thread_or_io(module: str) -> None:
    assert not imported(ROOT / module) & IMPURE_MODULES


def test_only_boards_touch_hardware() -> None:
    for file in sorted((ROOT / "firmware" / "evaluator").rglob("*.py")):
        assert not imported(file) & {"machine", "rp2"}, file.name


def test_top_level_is_the_design_card() -> None:
    found = {name.split("/")[0] for name in tracked()}
    assert {name for name in found if not name.startswith(".")} <= TOP_LEVEL


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name
        for name in tracked()
        if name.endswith(".py")
        and (ROOT / name).exists()
        and not ast.get_docstring(ast.parse((ROOT / name).read_text("utf-8")))
    ]
    assert not silent


def test_no_registry_address_and_no_machine_path_is_in_the_tree() -> None:
    words = [b"pypi" + b".org", b"pythonhosted" + b".org", b"deb.debian" + b".org", b"npmjs" + b".org", b"/work" + b"/main"]
    for name in tracked():
        path = ROOT / name
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in words if word in content], name
