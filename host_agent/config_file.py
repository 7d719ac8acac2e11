"""Making the configuration file: every key with its comment, what was asked filled in, secrets in a file of their own.

Nothing that is there is ever overwritten. Called by the commands `agent init` and `agent service install`.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from host_agent.config import DeviceConfig, FurtherLogin, FurtherWindow, load
from host_agent.errors import ConfigError
from host_agent.windows import each
from protocol.topics import Window

_BINARY = getattr(os, "O_BINARY", 0)
PASSWORD_FILE = "mqtt.password"  # noqa: S105  # the name of a file
_TEMPLATE = """\
# 评价器窗口代理程序的配置 Configuration of the rating agent. 检查 check it: agent config check --config {name}
# 修改后重新启动代理程序 Restart the agent after a change. 路径相对于本文件 Paths are relative to this file.

data_dir = {data_dir}          # 数据库、令牌等 database and token
#retention_days = 90       # 已归集记录保留天数 days for which collected records are kept; 1 至 to 3650
#max_database_mb = 256     # 超过时先删最早的已归集记录 then the oldest collected go first, others never
#log_level = "info"        # debug, info, warning, error

[place]                    # 本窗口 where this PC stands
area = {area}            # 6 位行政区划代码 division code
hall = {hall}
window = {window}

[device]                   # 评价器 the rating device
{port}              # 不写则询问每个 USB 串口 without it, every USB serial port is asked
#id = "PJQ-0001"           # 只接受这一台 only this device
#dtr = true                # 打开串口时的信号，默认按板卡 signals when the port is opened; as the board needs them by default
#rts = false

[mqtt]                     # 消息服务器 the broker
host = {host}
port = {mqtt_port}
{tls}               # 公共 CA 的 TLS  TLS with a public CA
{ca_file}        # 内部 CA 的 TLS  TLS with a private CA
{username}
{password_file}
#cert_file = "window.pem"  # 用客户端证书登录 login with a client certificate
#key_file = "window.key"
#protocol = "3.1.1"        # 或 or "5"
#transport = "tcp"         # 或 or "websockets"，只放行 HTTP 的网络 where only HTTP passes
#websocket_path = "/mqtt"

[api]                      # 业务系统接口，仅本机 for business systems, on this PC only
#port = 17610
#origins = ["http://hall.example"]   # 可以调用接口的网页 pages that may call it
#show_level = false        # true：窗口可知评价等级，群众会有顾虑 the window learns how it was rated; citizens will mind
#compatibility_port = 1919  # 按旧评价器方式调用 for callers of older evaluators: ws://localhost:1919
#compatibility_levels = [5, 4, 3, 2, 1]   # 其中非常满意…非常不满意的编号 its numbers, best level first
#follow_up_url = "https://hall.example/f/{{evaluation}}"   # 补充评价页面 the citizen's follow-up page
#metrics = true            # Prometheus 的 /metrics，令牌在 its token is in data_dir/metrics-token

[remote]                   # 信息部门远程询问，没有密钥文件则不答复 asked by the IT department; nobody is answered without a key file
#key_file = "remote.key"   # 由 made by: collector remote-key AREA/HALL/WINDOW -o remote.key
#allow = ["status", "log"] # 还有 also: "records" 重新发送记录 sends records again, "restart_link" 重新连接评价器 links anew

#[[windows]]               # 本机其他窗口，每个一段 another window at this PC; then every device needs its id
#window = {second}
#device = {{ id = "PJQ-0002" }}
#mqtt = {{ username = {second_user}, password_file = "mqtt-{second_name}.password" }}   # 不写则同上 as above without it
#api = {{ compatibility_port = 1920 }}
#remote = {{ key_file = "remote-{second_name}.key" }}
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What only the hall knows."""

    window: Window
    host: str
    port: int
    tls: bool = False
    ca_file: str | None = None
    username: str | None = None
    password: str | None = None
    device_port: str | None = None
    data_dir: str = "data"


def write(path: Path, answers: Answers) -> list[Path]:
    """Write the configuration and, with a password, its file; return what was made. ConfigError when one is there already."""
    secret = path.parent / PASSWORD_FILE
    files = {path: text(path.name, answers)}
    if answers.password is not None:
        files = {secret: answers.password, **files}  # the configuration last: it names what is there
    for file in files:
        if file.exists():
            raise ConfigError(f"文件已存在，未作修改 {file} is there already, nothing was changed; move it away first")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            _write_new(file, content, 0o600 if file == secret else 0o644)
    except OSError as error:
        raise ConfigError(f"文件无法写入 {path.parent}: {error} cannot be written; check its permissions") from error
    return list(files)


def further_window(window: str, device: str, username: str | None) -> FurtherWindow:
    """Return another window; ConfigError when something in it cannot be."""
    try:
        return FurtherWindow(window=window, device=DeviceConfig(id=device), mqtt=FurtherLogin(username=username))
    except ValidationError as error:
        raise ConfigError(f"评价器编号有误 --device: 1 至 to 16 位 of A-Z a-z 0-9 _ -: {device!r}") from error


def add_window(path: Path, further: FurtherWindow, password: str | None) -> list[Path]:
    """Add a window to a configuration; return what was written. ConfigError when it does not fit, with nothing changed."""
    config = load(path)
    secret = path.parent / f"mqtt-{further.window}.password"
    if password is not None:
        login = further.mqtt.model_copy(update={"password_file": secret})
        further = further.model_copy(update={"mqtt": login})
    each(config.model_copy(update={"windows": [*config.windows, further]}))
    named = further.mqtt.model_copy(update={"password_file": secret.name if password is not None else None})
    tables = {"device": _values(further.device), "mqtt": _values(named)}
    lines = ["", "[[windows]]", f"window = {_quoted(further.window)}"]
    lines += [f"{name} = {{ {', '.join(values)} }}" for name, values in tables.items() if values]
    try:
        if password is not None:
            _write_new(secret, password, 0o600)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))
    except FileExistsError as error:
        raise ConfigError(f"文件已存在，未作修改 {secret} is there already, nothing was changed; move it away first") from error
    except OSError as error:
        raise ConfigError(f"文件无法写入 {path.parent}: {error} cannot be written; check its permissions") from error
    return [path, *([secret] if password is not None else [])]


def _values(section: BaseModel) -> list[str]:
    """Return what is not the default, as keys with their values."""
    values = section.model_dump(exclude_defaults=True, exclude_none=True)
    return [f"{key} = {_quoted(str(value))}" for key, value in values.items()]


def _write_new(path: Path, content: str, mode: int) -> None:
    # a secret is its owner's alone from the first moment, and nothing goes into a file that somebody else has put there
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(content)
        if sys.platform != "win32" and os.geteuid() == 0:
            _let_service_read(file.fileno(), path.parent)


def _let_service_read(file: int, folder: Path) -> None:
    """Give a file that root has made the group of a folder that is closed to others: the package's, whose group is the service's."""
    if sys.platform != "win32":
        place = folder.stat()
        if place.st_gid != 0 and not place.st_mode & stat.S_IRWXO:
            os.fchown(file, 0, place.st_gid)
            os.fchmod(file, 0o640)


def adopt(prepared: Path, path: Path) -> list[Path]:
    """Copy a configuration that was prepared: a file, or a folder with `agent.toml` and what it names; return the copies."""
    try:
        source = prepared / "agent.toml" if prepared.is_dir() else prepared
        others = [file for file in prepared.iterdir() if file.is_file() and file != source] if prepared.is_dir() else []
        files = {path.parent / file.name: file.read_bytes() for file in others} | {path: source.read_bytes()}
    except OSError as error:
        raise ConfigError(f"准备的配置无法读取 the prepared configuration cannot be read: {error}; check --from") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():  # the configuration last: it names what is there
            if not file.exists():
                with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600), "wb") as copy:
                    copy.write(content)
    except OSError as error:
        raise ConfigError(f"文件无法写入 {path.parent}: {error} cannot be written; check its permissions") from error
    return list(files)


def text(name: str, answers: Answers) -> str:
    """Return the configuration; `name` is the file's, for its comments."""
    window = answers.window
    second = replace(window, window="02" if window.window != "02" else "03")
    return _TEMPLATE.format(
        name=name,
        data_dir=_quoted(answers.data_dir),
        area=_quoted(window.area),
        hall=_quoted(window.hall),
        window=_quoted(window.window),
        port=_line("port", answers.device_port, "COM3"),
        second=_quoted(second.window),
        second_user=_quoted(second.path),
        second_name=second.window,
        host=_quoted(answers.host),
        mqtt_port=answers.port,
        tls="tls = true" if answers.tls else "#tls = true",
        ca_file=_line("ca_file", answers.ca_file, "ca.pem"),
        username=_line("username", answers.username, window.path),
        password_file=_line("password_file", PASSWORD_FILE if answers.password is not None else None, PASSWORD_FILE),
    )


def _line(key: str, value: str | None, example: str) -> str:
    return f"#{key} = {_quoted(example)}" if value is None else f"{key} = {_quoted(value)}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML string
