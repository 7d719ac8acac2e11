"""The recipes of docs/api, each in its language: it asks for a rating, the citizen presses, it hears so and nothing more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import start_nats
from tests.hall import ROOT, Hall, eventually

pytestmark = pytest.mark.e2e

API = ROOT / "docs" / "api"
RECIPES = {
    # program that builds it, commands that build it, command that runs it
    "Rate.java": ("javac", [], ["java", "Rate.java"]),
    "Rate.cs": ("mcs", ["mcs", "Rate.cs", "-r:System.Net.Http.dll", "-r:System.Web.Extensions.dll"], ["mono", "Rate.exe"]),
    "Rate.pas": ("fpc", ["fpc", "-v0", "Rate.pas"], ["./Rate"]),
}


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    folder = tmp_path_factory.mktemp("hall")
    with Hall(folder / "hall", start_nats(folder / "broker")) as made:
        made.start()
        yield made


def environment(hall: Hall) -> dict[str, str]:
    return {**os.environ, "AGENT": hall.agent.url, "TOKEN": (hall.data_dir / "api-token").read_text().strip()}


def test_every_recipe_is_tried() -> None:
    assert {file.name for file in (API / "recipes").iterdir()} == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_asks_and_hears_that_the_citizen_has_rated(hall: Hall, recipe: str, tmp_path: Path) -> None:
    needs, build, run = RECIPES[recipe]
    if shutil.which(needs) is None:
        pytest.skip(f"{needs} is not installed")
    shutil.copy(API / "recipes" / recipe, tmp_path)
    if build:
        subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    process = subprocess.Popen(
        [*run, recipe], cwd=tmp_path, env=environment(hall), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        evaluation = eventually(f"{recipe} asks", hall.device_is_asking)
        assert hall.ask("GET", f"/v1/evaluations/{evaluation}").json()["case"]["case_no"] == recipe
        hall.device.press(4)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert said.split() == ["opened", "rated"]
    assert process.returncode == 0


def test_a_recipe_tells_what_the_agent_says_is_wrong(hall: Hall, tmp_path: Path) -> None:
    shutil.copy(API / "recipes" / "Rate.pas", tmp_path)
    subprocess.run(RECIPES["Rate.pas"][1], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    done = subprocess.run(
        ["./Rate", "A-1"],
        cwd=tmp_path,
        env={**environment(hall), "TOKEN": "x", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "令牌" in done.stdout + done.stderr


def test_the_command_for_curl(hall: Hall) -> None:
    (command,) = re.findall(r"```sh\n(.*?)```", (API / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    answers = [
        json.loads(
            subprocess.run(["sh", "-c", command], env=environment(hall), capture_output=True, check=True, timeout=30).stdout
        )
        for _ in range(2)
    ]
    assert answers[0]["state"] == "opened"
    assert answers[0]["id"] == answers[1]["id"]
    hall.device.press(0)
    assert hall.ended(answers[0]["id"]) == "rated"
