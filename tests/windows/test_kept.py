"""What was made for Windows is kept for the next time, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from tools.windows import kept
from tools.windows.interpreter import CannotBuild


class Maker:
    """Makes folders with one file, and notes which."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[str] = []

    def want(self, key: str, kind: str = "program") -> Path:
        def make(scratch: Path) -> Path:
            with pytest.raises(Timeout):
                FileLock(self.folder / f"{kind}.lock").acquire(timeout=0)  # as another process would
            self.made.append(key)
            (scratch / "out").mkdir()
            (scratch / "out" / "file").write_text(key, encoding="ascii")
            return scratch / "out"

        return kept.kept(kind, key, make)

    def there(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setattr(kept, "KEEP", tmp_path)
    return Maker(tmp_path)


def test_it_is_made_once_and_the_two_that_were_wanted_last_stay(maker: Maker) -> None:
    maker.want("1", kind="python")
    for key in ("1", "2", "1", "3"):
        assert (maker.want(key) / "file").read_text(encoding="ascii") == key
    assert maker.made == ["1", "1", "2", "3"]
    assert maker.there() == ["program-1", "program-3", "python-1"]


def test_what_fails_or_was_killed_in_the_middle_leaves_nothing(maker: Maker) -> None:
    def fail(scratch: Path) -> Path:
        (scratch / "half").touch()
        raise CannotBuild

    with pytest.raises(CannotBuild):
        kept.kept("program", "1", fail)
    assert maker.there() == []
    (maker.folder / "making-program-x").mkdir()
    maker.want("1")
    assert maker.there() == ["program-1"]
