"""Make the Debian package of the agent: `python -m tools.deb [--out dist]`.

The package brings every library that the agent needs, of the versions with hashes in tools/requirements/agent-deb.txt, in a folder
of its own: a window PC needs no package index. It is for Debian 12 on x86-64, whose Python is 3.11. The service is the one that
`agent service install` makes; it waits for a configuration. Needs dpkg-deb.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from host_agent import AGENT_VERSION
from host_agent.service import linux

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "requirements" / "agent-deb.txt"
NAME = "haochaping-agent"
LIBRARY = Path("usr/lib/haochaping")
PROGRAM = Path("usr/bin") / NAME
CONFIG = Path("/etc/haochaping/agent.toml")
DATA = Path("/var/lib/haochaping")
OURS = ("protocol", "host_agent")

_CONTROL = """\
Package: {name}
Version: {version}
Architecture: amd64
Maintainer: haochaping <root@localhost>
Installed-Size: {size_kb}
Depends: python3 (>= 3.11), python3 (<< 3.12)
Recommends: systemd, udev
Section: misc
Priority: optional
Description: 好差评窗口代理程序 Rating agent of one window
 Brings the ratings of a five-button device to the collection, exactly once.
 下一步 next: {name} init, {name} config check, systemctl restart {name}
"""
_LAUNCHER = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{library}")
from host_agent.cli import main

sys.argv[0] = "{name}"
main()
"""
_SYSUSERS = "u {account} - 好差评窗口代理 {data} /usr/sbin/nologin\nm {account} dialout\n"
_TMPFILES = """\
d /etc/haochaping 0750 root {account}
z /etc/haochaping/*.password 0640 root {account}
z /etc/haochaping/*.key 0640 root {account}
d {data} 0700 {account} {account}
"""
_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
if command -v systemd-sysusers >/dev/null; then systemd-sysusers --root="${{DPKG_ROOT:-/}}" {name}.conf; fi
if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --root="${{DPKG_ROOT:-/}}" --create {name}.conf; fi
if command -v systemctl >/dev/null; then systemctl --root="${{DPKG_ROOT:-/}}" enable -q {name}.service; fi
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  udevadm control --reload || true
  if [ -e {config} ]; then systemctl restart {name}.service; fi
fi
if [ ! -e "$DPKG_ROOT{config}" ]; then
  echo "下一步 next: {name} init; {name} config check; systemctl restart {name}"
fi
"""
_PRERM = """\
#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then systemctl stop {name}.service; fi
if [ "$1" = remove ] && command -v systemctl >/dev/null; then
  systemctl --root="${{DPKG_ROOT:-/}}" disable -q {name}.service
fi
find "$DPKG_ROOT/{library}" -name __pycache__ -type d -prune -exec rm -rf {{}} +
"""
_POSTRM = """\
#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
[ "$1" = purge ] || exit 0
waiting=$(python3 -I - "$DPKG_ROOT{data}" <<'PYTHON' || echo unknown
import pathlib, sqlite3, sys
count = 0
for file in pathlib.Path(sys.argv[1]).glob("**/agent.db"):
    count += sqlite3.connect(file).execute("SELECT count(*) FROM records WHERE state < 2").fetchone()[0]
print(count)
PYTHON
)
if [ "$waiting" = 0 ]; then
  rm -rf "$DPKG_ROOT{data}"
else
  echo "$DPKG_ROOT{data} 中有 $waiting 条评价尚未归集，已保留 ratings there are not collected yet, so it is kept"
fi
rm -rf "$DPKG_ROOT/etc/haochaping"
"""


class CannotBuild(Exception):
    """What is in the way, in a sentence."""


def build(out: Path, version: str = AGENT_VERSION) -> Path:
    """Make the package in a folder; return its file."""
    if shutil.which("dpkg-deb") is None:
        raise CannotBuild("缺少 dpkg-deb is missing: apt install dpkg")
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{NAME}_{version}_amd64.deb"
    with tempfile.TemporaryDirectory(prefix="deb-") as scratch:
        tree = Path(scratch) / "tree"
        _libraries(tree / LIBRARY)
        for name in OURS:
            shutil.copytree(ROOT / name, tree / LIBRARY / name, ignore=shutil.ignore_patterns("__pycache__", "wireshark"))
        _system_files(tree)
        _control(tree, version)
        _must("dpkg-deb", "--root-owner-group", "--build", str(tree), str(file))
    return file


def _libraries(target: Path) -> None:
    _must(
        sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--require-hashes",
        "--only-binary", ":all:", "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64",
        "--python-version", "3.11", "--implementation", "cp", "--target", str(target), "-r", str(PINS),
    )  # fmt: skip
    shutil.rmtree(target / "bin", ignore_errors=True)


def _system_files(tree: Path) -> None:
    words = {"name": NAME, "account": linux.ACCOUNT, "library": LIBRARY.as_posix(), "config": CONFIG, "data": DATA}
    unit = linux.unit(f"/{PROGRAM.as_posix()}", CONFIG, DATA).replace(
        "[Unit]\n", f"[Unit]\n# 配置好后才启动 it waits for its configuration\nConditionPathExists={CONFIG}\n"
    )
    files = {
        PROGRAM: (_LAUNCHER.format(**words), 0o755),
        Path("usr/lib/systemd/system") / f"{NAME}.service": (unit, 0o644),
        Path("usr/lib/udev/rules.d") / linux.RULES.name: (linux.RULES_TEXT, 0o644),
        Path("usr/lib/sysusers.d") / f"{NAME}.conf": (_SYSUSERS.format(**words), 0o644),
        Path("usr/lib/tmpfiles.d") / f"{NAME}.conf": (_TMPFILES.format(**words), 0o644),
        Path("DEBIAN/postinst"): (_POSTINST.format(**words), 0o755),
        Path("DEBIAN/prerm"): (_PRERM.format(**words), 0o755),
        Path("DEBIAN/postrm"): (_POSTRM.format(**words), 0o755),
    }
    for name, (text, mode) in files.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)


def _control(tree: Path, version: str) -> None:
    for folder in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    text = _CONTROL.format(name=NAME, version=version, size_kb=size // 1024)
    (tree / "DEBIAN" / "control").write_text(text, encoding="utf-8")


def _must(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode:
        raise CannotBuild(f"{' '.join(command[:4])} … failed:\n{(done.stdout + done.stderr)[-2000:]}")


def main(arguments: list[str]) -> int:
    """Make it and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m tools.deb", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the package goes")
    try:
        file = build(parser.parse_args(arguments).out)
    except (CannotBuild, OSError) as error:
        print(f"无法生成 cannot be made: {error}")
        return 1
    print(f"软件包 package: {file} ({file.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
