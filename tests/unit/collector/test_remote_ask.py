"""What stands around an ask: nothing is asked unnoted or in the collector's name, and what a window sends is only ever text."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from collector import cli
from collector.config import load
from collector.errors import AskError, CollectorError, ConfigError
from collector.remote.ledger import FILE_NAME, Ledger
from collector.remote.show import show
from protocol.remote import Asked, LogArguments
from tests.chains import WINDOW


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE_NAME).read_text(encoding="utf-8").splitlines()]


def test_an_ask_is_noted_before_it_goes_out_and_then_what_came_of_it(tmp_path: Path) -> None:
    ledger, arguments = Ledger(tmp_path), LogArguments(lines=5)
    with ledger.noting(WINDOW, Asked.LOG, arguments) as note:
        (before,) = lines(tmp_path)
        assert (before["window"], before["kind"], before["arguments"]) == (WINDOW.path, "log", {"lines": 5})
        note("ok")
    with pytest.raises(AskError), ledger.noting(WINDOW, Asked.LOG, arguments):
        raise AskError("窗口忙 busy")
    with pytest.raises(KeyboardInterrupt), ledger.noting(WINDOW, Asked.LOG, arguments):
        raise KeyboardInterrupt
    asked, outcomes = lines(tmp_path)[::2], lines(tmp_path)[1::2]
    assert [one["outcome"] for one in outcomes] == ["ok", "窗口忙 busy", "interrupted"]
    assert [one["ask"] for one in asked] == [one["ask"] for one in outcomes]
    assert len({one["ask"] for one in asked}) == 3
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


def test_where_it_cannot_be_noted_nothing_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AskError, match="nothing is asked unnoted"):  # noqa: SIM117  # the inner block must not be reached
        with Ledger(tmp_path / "file" / "data").noting(WINDOW, Asked.STATUS, LogArguments()):
            pytest.fail("asked all the same")


@pytest.mark.parametrize(
    ("mqtt", "ask", "user"),
    [
        ("", "", None),
        ("", 'username = "asker"', "asker"),
        ('username = "collector"', 'username = "asker"', "asker"),
        ('cert_file = "c.pem"\nkey_file = "c.key"', 'cert_file = "a.pem"\nkey_file = "a.key"', None),
        ('username = "collector"', "", ""),
        ('username = "collector"\npassword_file = "p"', 'password_file = "q"', ""),
        ('username = "collector"', 'username = "collector"', ""),
        ('cert_file = "c.pem"', 'cert_file = "c.pem"', ""),
    ],
)
def test_it_never_bears_the_collectors_name(tmp_path: Path, mqtt: str, ask: str, user: str | None) -> None:
    file = tmp_path / "collector.toml"
    file.write_text(f'data_dir = "data"\n[mqtt]\nport = 8883\n{mqtt}\n[ask]\n{ask}\n')
    config = load(file)
    if user == "":
        with pytest.raises(ConfigError, match="a user of its own is needed"):
            config.asker()
        return
    login = config.asker()
    assert (login.username, login.port, login.password_file) == (user, 8883, None)
    if "a.pem" in ask:
        assert (login.cert_file, login.key_file) == (tmp_path / "a.pem", tmp_path / "a.key")


def test_what_a_window_sends_is_printed_as_text_and_nothing_else() -> None:
    wild = "[red]x[/red] \x1b]0;title\x07 \x9b31m 窗"
    for asked, body in (
        (Asked.LOG, {"lines": [wild, 5, None]}),
        (Asked.STATUS, {"window": wild, "link_trouble": wild, "counters": {wild: 1}, "conditions": [wild]}),
        (Asked.RECORDS, {"sent_again": wild}),
        (Asked.RESTART_LINK, {"was": wild}),
        (Asked.STATUS, {"counters": 7, "conditions": {}, "paused": True}),
        (Asked.LOG, {"lines": "no list"}),
    ):
        out = io.StringIO()
        show(Console(file=out, width=400), asked, body)
        told = out.getvalue()
        assert not {"\x1b", "\x07", "\x9b"} & set(told)
        assert ("[red]x[/red] ?]0;title? ?31m 窗" in told) == (wild in str(body) or "\\x1b" in repr(body))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["533103/dating", "status"], "no window"),
        (["533103/dating/07/x", "status"], "no window"),
        (["5331/dating/07", "status"], "no window"),
        (["533103/dating/07", "records", "--device", "PJ-1"], "--first is missing"),
        (["533103/dating/07", "restart-link", "--device", "PJ-1"], "--device 不适用"),
        (["533103/dating/07", "records", "--device", "a b", "--first", "1"], "this cannot be asked"),
        (["533103/dating/07", "status"], "has no key of that hall"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_sent(tmp_path: Path, words: list[str], sentence: str) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('data_dir = "data"\n[mqtt]\nport = 1\n')
    with pytest.raises(CollectorError) as caught:
        CliRunner().invoke(cli.app, ["ask", *words, "-c", str(file)], catch_exceptions=False)
    assert sentence in str(caught.value)
    assert not (tmp_path / "data").exists()
