"""docs/operations.md does what it says: its settings are taken, its commands executed beside a real agent and after it has stopped.

The commands run in this process: the start of an interpreter for each would cost more than the rest.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.config import load
from host_agent.windows import each
from tests.brokers import Broker, free_port
from tests.hall import ROOT, Hall, eventually

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "operations.md"
BLOCK = re.compile(r"^```(\S+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def typed(line: str) -> tuple[int, str]:
    """Type a line of the page; its exit code, and what it says on standard output."""
    if not line.startswith("agent "):
        done = subprocess.run(["/bin/sh", "-ec", line], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout
    command, _, file = line.partition(" > ")
    told = CliRunner().invoke(cli.app, shlex.split(command)[1:], catch_exceptions=False)
    if file:
        Path(file).write_bytes(told.stdout_bytes)
    return told.exit_code, told.stdout


def test_every_block_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    blocks = [(kind, words.strip(), body) for kind, words, body in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]
    settings = [body for kind, _, body in blocks if kind == "toml"]
    api = next(body for body in settings if body.startswith("[api]"))
    retention = next(body for body in settings if not body.startswith("["))
    monkeypatch.chdir(tmp_path)
    with Hall(tmp_path, Broker("none", [], free_port(), tmp_path / "none.log")) as hall:
        config = hall.agent.config
        text = config.read_text().replace("[api]\n", api).replace('data_dir = "agent"', f'data_dir = "data"\n{retention}')
        config.write_text(text)
        hall.data_dir = tmp_path / "data"
        hall.device.plug_in()
        hall.device.press(0)
        hall.agent.start()
        eventually("a rating is here", lambda: hall.status()["outbox_to_send"] == 2)
        assert hall.status()["database_most_bytes"] == 256_000_000
        port = (tmp_path / "data" / "api-port").read_text().strip()
        said = ""
        for kind, words, body in blocks:
            if kind != "sh" or words == "asking":  # those are executed by test_remote_requests, where there is a broker
                continue
            if words == "stopped" and hall.agent.process is not None:
                hall.agent.stop()
            for line in body.splitlines():
                code, words_of_it = typed(line.replace("17610", port))
                # status says 2 for the broker that is not there
                assert code == (2 if "agent status" in line else 0), line + words_of_it
                said += words_of_it
    assert 'haochaping_agent_outbox_records{window="533103/dating/07",state="to_send"} 2' in said
    assert "nothing to repair" in said
    assert [one.place.window for one in each(load(config))] == ["07", "08"]
    with (tmp_path / "ratings.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["rating"]
    assert (tmp_path / "records.xlsx").read_bytes().startswith(b"PK")
    assert (tmp_path / "evaluations.jsonl").read_bytes() == b""
    assert json.loads(said[said.index("[\n{") : said.index("\n]") + 2])[0]["state"] == "to_send"
    assert "findings.txt" in zipfile.ZipFile(tmp_path / "support.zip").namelist()


def test_each_metric_that_the_page_names_is_there() -> None:
    """A rule that watches a name which does not exist never fires."""
    from prometheus_client.parser import text_string_to_metric_families

    from host_agent.api.metrics import exposition, of_windows
    from tests.paper_agent import REPORT

    text = exposition([*of_windows([REPORT])])
    named = re.findall(r"^\| `(haochaping_[^`]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) == 6
    there = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    for one in named:
        name, _, labels = one.partition("{")
        wanted = dict(re.findall(r'(\w+)="(\w+)"', labels))
        assert any(sample.name == name and wanted.items() <= sample.labels.items() for sample in there), one
