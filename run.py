"""The two commands of a fresh clone: `python run.py demo` and `python run.py test`.

Needs nothing but Python 3.11: makes `.venv` beside this file, installs the pinned requirements with their hashes, says in
Chinese and English what is missing, and then hands over. What is already there is not done again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = ROOT / "tools" / "requirements"
NEEDS_PYTHON = (3, 11)

# what the tests need beside Python packages: program, Debian packages
PROGRAMS = {
    "curl": "curl",
    "mosquitto": "mosquitto",
    "chromium": "chromium",
    "tshark": "tshark",
    "initdb": "postgresql",
    "strace": "strace",
    "systemd-analyze": "systemd",
    # the vendors' languages: docs/api/recipes
    "javac": "default-jdk-headless",
    "mcs": "mono-mcs mono-runtime libmono-system-net-http4.0-cil libmono-system-web-extensions4.0-cil",
    "fpc": "fp-compiler fp-units-fcl fp-units-net",
    "wine": "wine",
    "x86_64-w64-mingw32-gcc": "gcc-mingw-w64-x86-64-win32",
    "makensis": "nsis",
}
# and files of such packages
FILES = {
    "/usr/share/i18n/locales/zh_CN": "locales",
}
CHINESE_FONT = ("fc-list", ":lang=zh", "fonts-noto-cjk")

USAGE = """用法 usage:
  python run.py demo [--headless --presses N] [--reset] [--help]   演示 the demo
  python run.py test [pytest 参数 arguments]                        全部检查与测试 every check and test
  python run.py setup                                               只安装 only install
"""


class Missing(Exception):
    """Something that only the user can provide; the text says what and how."""


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def run(*command: str, **options: object) -> int:
    """Run a program in the project's folder; return its exit code."""
    return subprocess.run(command, cwd=ROOT, check=False, **options).returncode  # type: ignore[call-overload,no-any-return]  # options are passed on as they are


def is_root() -> bool:
    """Tell whether packages of the system can be installed."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(*packages: str) -> bool:
    """Install Debian packages as root; tell whether that worked."""
    say(f"安装系统软件包 installing {' '.join(packages)} …")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ("-o", "DPkg::Lock::Timeout=600")
    quiet = {"stdout": subprocess.DEVNULL, "env": environment}
    install = ("apt-get", *wait, "install", "-y", "-qq", "--no-install-recommends", *packages)
    return run(*install, **quiet) == 0 or (run("apt-get", *wait, "update", "-qq", **quiet) == 0 and run(*install, **quiet) == 0)


def make_venv() -> None:
    """Make `.venv` unless a working one is there."""
    if PYTHON.exists() and run(str(PYTHON), "-c", "import pip", stderr=subprocess.DEVNULL) == 0:
        return
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        if not (is_root() and apt_install(package)):
            raise Missing(f"缺少 venv 模块，请运行 the venv module is missing; run:\n  sudo apt-get install {package}")
    say("创建 .venv making .venv …")
    venv.create(VENV, with_pip=True, clear=True)


def install(name: str) -> None:
    """Install the pinned requirements `name`.txt with hashes, showing how far it is; nothing when they are in already."""
    file = REQUIREMENTS / f"{name}.txt"
    text = file.read_text(encoding="utf-8")
    mark = VENV / f"installed-{name}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    if mark.exists() and mark.read_text(encoding="ascii") == digest:
        return
    total = len(re.findall(r"^[a-z0-9][^\n]*==", text, re.MULTILINE))
    say(f"安装 {total} 个依赖包 installing {total} packages (pinned, with hashes) …")
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--python", str(PYTHON), "--require-hashes", "-r", str(file)]
    else:
        command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r", str(file)]
    log: list[str] = []
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    )
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        log.append(line.rstrip())
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen += 1
            show_progress(seen, total, line.split()[1] if line.startswith("C") else "")
        elif line.startswith("Installing collected"):
            show_progress(total, total, "安装 installing")
    if sys.stdout.isatty():
        print()
    if process.wait() != 0:
        raise Missing(
            "\n".join(log[-12:]) + "\n依赖包安装失败，请检查网络或 pip 的软件源后重试 "
            "installing failed; check the network or pip's package index, then try again"
        )
    mark.write_text(digest, encoding="ascii")


def show_progress(seen: int, total: int, what: str) -> None:
    """Draw a bar on a terminal, a line for every tenth package elsewhere."""
    if sys.stdout.isatty():
        filled = 30 * min(seen, total) // total
        print(f"\r  [{'#' * filled}{'.' * (30 - filled)}] {seen}/{total} {what:<40.40}", end="", flush=True)
    elif seen % 10 == 0 or seen == total:
        say(f"  {seen}/{total}")


def install_programs() -> None:
    """Install as root what the tests need beside Python; otherwise say which tests will be skipped without it."""
    absent = [packages for program, packages in PROGRAMS.items() if not (shutil.which(program) or out_of_path(program))]
    missing = [package for packages in absent for package in packages.split()]
    missing += [package for file, package in FILES.items() if not Path(file).exists()]
    listing, pattern, package = CHINESE_FONT
    if shutil.which(listing) is None:
        missing += ["fontconfig", package]
    elif not subprocess.run([listing, pattern], capture_output=True, check=False).stdout:
        missing.append(package)
    if missing and not (is_root() and apt_install(*missing)):
        say(f"缺少 missing: {' '.join(missing)}. 相关测试将跳过 tests that need it will be skipped.")
        say(f"  sudo apt-get install {' '.join(missing)}")


def out_of_path(program: str) -> bool:
    """Tell whether a server program is where an ordinary user's PATH does not look."""
    return Path("/usr/sbin", program).exists() or any(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))


def demo(arguments: list[str]) -> int:
    """Set up and run the demo."""
    make_venv()
    install("run")
    return hand_over([str(PYTHON), "-m", "simulator", "demo", *arguments])


def test(arguments: list[str]) -> int:
    """Set up and run every check, then all tests; arguments go to pytest."""
    make_venv()
    install("run")
    install("dev")
    install_programs()
    python = str(PYTHON)
    checks: list[tuple[str, list[str]]] = [
        ("格式 format", [python, "-m", "ruff", "format", "--check", "."]),
        ("规范 lint", [python, "-m", "ruff", "check", "."]),
        ("类型 types (linux)", [python, "-m", "mypy", "--platform", "linux"]),
        ("类型 types (win32)", [python, "-m", "mypy", "--platform", "win32"]),
        ("类型 types (firmware)", [python, "-m", "tools.check_firmware_types"]),
        ("生成文件 generated files", [python, "-m", "protocol.generate", "--check"]),
        ("命令手册 command reference", [python, "-m", "tools.cli_reference", "--check"]),
        ("接口文档 API document", [python, "-m", "tools.api_document", "--check"]),
        # side by side, a file at a time: many tests wait for what they have broken to come back
        ("测试 tests", [python, "-m", "pytest", *(arguments or ["-n", "2", "--dist", "loadfile"])]),
    ]
    results: list[tuple[str, int, float]] = []
    for name, command in checks:
        say(f"— {name}")
        began = time.monotonic()
        results.append((name, run(*command), time.monotonic() - began))
    say("")
    for name, code, seconds in results:
        say(f"{'通过 pass' if code == 0 else '失败 FAIL'}  {name}  {seconds:.0f} s")
    return 0 if all(code == 0 for _, code, _ in results) else 1


def hand_over(command: list[str]) -> int:  # noqa: RET503  # execv does not return
    """Become a program that deals with Ctrl-C itself; on Windows, which cannot, wait for it."""
    if sys.platform != "win32":
        sys.stdout.flush()
        os.chdir(ROOT)
        os.execv(command[0], command)  # noqa: S606  # so that whoever stops this stops the program
    else:
        process = subprocess.Popen(command, cwd=ROOT)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the program has been told as well, and stops everything in order


def main() -> int:
    """Do what the first argument says."""
    if sys.version_info < NEEDS_PYTHON:
        say("需要 Python 3.11 或更新 Python 3.11 or newer is needed")
        return 1
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a Windows console may not know every character
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    try:
        if command == "demo":
            return demo(arguments)
        if command == "test":
            return test(arguments)
        if command == "setup":
            make_venv()
            install("run")
            return 0
    except Missing as missing:
        say(str(missing))
        return 1
    say(USAGE)
    return 2


if __name__ == "__main__":
    sys.exit(main())
