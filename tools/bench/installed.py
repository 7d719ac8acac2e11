"""How much disk the agent takes when it is installed: its own rooms and every package that its extra brings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from simulator.services import ROOT
from tools.bench.stage import NotHere
from tools.bench.table import Effort, Row

ROOMS = ("protocol", "host_agent")
MEGA = 1_000_000


def installed_rows(_effort: Effort) -> list[Row]:
    """Sum the files of the packages as they are installed here, without what Python compiles from them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["agent"]]
    packages = _closure([Requirement(one) for one in wanted])
    theirs = sum(size for package in packages.values() for size in _sizes(package))
    ours = sum(path.stat().st_size for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file() and _counts(path))
    note = f"{len(packages)} packages, ours {ours / MEGA:.2f} MB"
    return [Row("installed", "agent: installed, without Python itself", (theirs + ours) / MEGA, "MB", note=note)]


def _closure(wanted: list[Requirement]) -> dict[str, metadata.Distribution]:
    """Return every package that these need on this machine."""
    found: dict[str, metadata.Distribution] = {}
    while wanted:
        one = wanted.pop()
        extras = {"", *one.extras}
        name = one.name.lower().replace("_", "-")
        if name in found or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise NotHere(f"{name} is not installed") from error
        needs = [Requirement(need) for need in found[name].requires or ()]
        wanted += [need for need in needs if need.marker is None or any(need.marker.evaluate({"extra": one}) for one in extras)]
        for need in needs:
            need.marker = None  # looked at: an extra that was asked for is not known any more
    return found


def _sizes(package: metadata.Distribution) -> Iterator[int]:
    for file in package.files or ():
        path = Path(str(file.locate()))
        if path.is_file() and _counts(path):
            yield path.stat().st_size


def _counts(path: Path) -> bool:
    return "__pycache__" not in path.parts
