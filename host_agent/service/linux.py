"""The agent as a systemd service: an account of its own, a unit that leaves it little, a rule that keeps probing programs off.

`install` and `remove` do the same thing when they are called again. Below another `root` they only put files there, as a
package or an image needs them: no account is made and nothing is started. Configuration and data are never removed. Called by
the commands `agent service …`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from host_agent.config import Config
from host_agent.errors import AgentError
from host_agent.windows import secret_files

NAME = "haochaping-agent"
ACCOUNT = "haochaping"
UNIT = Path("etc/systemd/system") / f"{NAME}.service"
RULES = Path("etc/udev/rules.d") / "99-haochaping.rules"
BOOTED = Path("/run/systemd/system")
"""There where systemd runs the machine."""
COMMAND_S = 60.0

_UNIT = """\
# {name}: agent service install 生成 made by it; 改动请放入 put changes into {name}.service.d/
[Unit]
Description=好差评窗口代理程序 Rating agent of one window
Wants=network-online.target
After=network-online.target
# 一直重试，不放弃 never give up
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} run --config {config}
WatchdogSec=30
Restart=always
RestartSec=2
TimeoutStopSec=10
User={account}
Group={account}
# 串口所属的组 the group that serial ports belong to
SupplementaryGroups=dialout
UMask=0077
ReadWritePaths={data_dir}

# 只看得见串口 of all devices, it sees serial ports
DevicePolicy=closed
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyUSB rw
# 只用网络、本机套接字和内核的设备通知 network, local sockets and the kernel's word of devices only
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
"""

RULES_TEXT = """\
# 评价器 Rating devices: ModemManager 和盲文程序不得试探 no modem manager and no braille program may probe them;
# 不省电 it is not put to sleep; 固定名称 a name that stays: /dev/haochaping-<serial>
ACTION=="remove", GOTO="haochaping_end"
SUBSYSTEM=="usb", ATTR{idVendor}=="2e8a", ENV{ID_MM_DEVICE_IGNORE}="1", ENV{BRLTTY_BRAILLE_DRIVER}=""
SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ATTR{idVendor}=="2e8a", TEST=="power/control", ATTR{power/control}="on"
SUBSYSTEM=="tty", ATTRS{idVendor}=="2e8a", ENV{ID_MM_DEVICE_IGNORE}="1", ENV{ID_MM_PORT_IGNORE}="1", \\
  SYMLINK+="haochaping-$attr{serial}"
LABEL="haochaping_end"
"""


def unit(program: str, config: Path, data_dir: Path) -> str:
    """Return the unit's text; `program` is the command line of `agent`."""
    return _UNIT.format(name=NAME, account=ACCOUNT, program=program, config=config, data_dir=data_dir)


def install(config: Path, settings: Config, root: Path = Path("/")) -> list[Path]:
    """Put unit and rule in place and start the service; return the files. AgentError says what is in the way."""
    _must_be_linux()
    paths = {"python": Path(sys.executable), "--config": config.resolve(), "data_dir": settings.data_dir}
    for name, path in paths.items():
        if any(character.isspace() or character in "%\"'\\" for character in str(path)):
            raise AgentError(
                f"路径 {path} ({name}) 含空格或特殊字符，请换一个 has a blank or special character; choose another"
            )
    if root == Path("/"):
        _must_be_booted()
    files = {
        root / UNIT: unit(f"{sys.executable} -m host_agent", config.resolve(), settings.data_dir),
        root / RULES: RULES_TEXT,
    }
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AgentError(f"文件无法写入 {error.filename}，请以 root 运行 cannot be written; run this as root") from error
    if root == Path("/"):
        _make_account()
        _give(settings)
        _run("systemctl", "daemon-reload")
        _run("udevadm", "control", "--reload")
        _run("systemctl", "enable", f"{NAME}.service")
        _run("systemctl", "restart", f"{NAME}.service")
    else:
        _run("systemctl", f"--root={root}", "enable", f"{NAME}.service")
    return list(files)


def remove(root: Path = Path("/")) -> list[Path]:
    """Stop the service and take its files away; return those. Configuration, data and account stay."""
    _must_be_linux()
    files = [file for file in (root / UNIT, root / RULES) if file.exists()]
    if not files:
        return []
    if root == Path("/"):
        _must_be_booted()
        _run("systemctl", "disable", "--now", f"{NAME}.service")
    else:
        _run("systemctl", f"--root={root}", "disable", f"{NAME}.service")
    try:
        for file in files:
            file.unlink()
    except OSError as error:
        raise AgentError(f"文件无法删除 {error.filename}，请以 root 运行 cannot be removed; run this as root") from error
    if root == Path("/"):
        _run("systemctl", "daemon-reload")
    return files


def installed_config(root: Path = Path("/")) -> Path | None:
    """Return the configuration with which the service runs; None when it is not installed."""
    unit_file = root / UNIT
    found = (
        re.search(r"^ExecStart=.* --config (\S+)$", unit_file.read_text(encoding="utf-8"), re.M) if unit_file.exists() else None
    )
    return Path(found[1]) if found else None


def stop() -> bool:
    """Stop the service; tell whether there is one. It starts again with the machine."""
    _must_be_linux()
    if not (Path("/") / UNIT).exists():
        return False
    _run("systemctl", "stop", f"{NAME}.service")
    return True


def state() -> str:
    """Return systemd's word for the service: active, failed, inactive …; `not installed` without a unit."""
    _must_be_linux()
    if not (Path("/") / UNIT).exists():
        return "not installed"
    return _run("systemctl", "is-active", f"{NAME}.service", check=False)


def _make_account() -> None:
    if sys.platform == "linux":
        import pwd

        try:
            pwd.getpwnam(ACCOUNT)
        except KeyError:
            _run("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT)


def _give(settings: Config) -> None:
    """Let the account have its data, and read the secrets that the configuration names."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (settings.data_dir, *settings.data_dir.rglob("*")):
        if not path.is_symlink():  # whatever it leads to is not the account's to have
            shutil.chown(path, ACCOUNT, ACCOUNT)
    for secret in secret_files(settings):
        if secret.exists():
            shutil.chown(secret, "root", ACCOUNT)
            os.chmod(secret, 0o640)


def _run(*command: str, check: bool = True) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except FileNotFoundError as error:
        raise AgentError(f"缺少 {command[0]} is missing: 本机没有 systemd？ does this machine have systemd?") from error
    if check and done.returncode:
        raise AgentError(f"命令失败 failed: {' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def _must_be_booted() -> None:
    if not BOOTED.exists():
        raise AgentError(
            "本机未运行 systemd，请用其他方式启动 agent run  systemd does not run this machine: start `agent run` in another way"
        )


def _must_be_linux() -> None:
    if sys.platform != "linux":
        raise AgentError("此命令仅支持 Linux this is for Linux only")
