"""Small disks that can be filled: a file system in memory, where the machine lets us mount one."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

FILLER = "filler"
BLOCKS_BYTES = (65536, 4096, 512)


class SmallDisk:
    """A disk of so many megabytes at `folder`, from `mount` to `unmount`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._is_mounted = False

    def mount(self, megabytes: int) -> str:
        """Mount it; return why that cannot be, empty when it is done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which("mount")
        if program is None or not Path("/proc/mounts").exists():
            return "没有 mount no mount program"
        options = f"size={megabytes}m,mode=700"
        mounted = subprocess.run(
            [program, "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], capture_output=True, text=True, check=False
        )
        self._is_mounted = mounted.returncode == 0
        return "" if self._is_mounted else "无权挂载 no right to mount a small disk"

    def fill(self) -> None:
        """Take all the room that there is."""
        with (self.folder / FILLER).open("ab", buffering=0) as file:
            for size in BLOCKS_BYTES:
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size) == size:
                        pass

    def free(self) -> None:
        """Give the room back; safe to repeat."""
        (self.folder / FILLER).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away; safe to repeat."""
        if self._is_mounted:
            subprocess.run([shutil.which("umount") or "umount", "-l", str(self.folder)], check=False)
            self._is_mounted = False
