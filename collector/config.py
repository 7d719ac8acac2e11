"""The configuration: one TOML file, checked to the last key, with the environment on top.

`HCP_COLLECTOR_` and `__` between levels name the same keys (`HCP_COLLECTOR_MQTT__PORT`). Relative paths are relative to the
file. An unknown key is an error that names its path and the nearest known one. Secrets stay in files of their own; nothing
here prints one. Called by cli; every failure is a ConfigError.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from collector.errors import ConfigError
from protocol.signing import KEY_BYTES

PREFIX = "HCP_COLLECTOR_"
_HALL = re.compile(r"[0-9]{6}/[A-Za-z0-9_-]{1,32}")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:([0-9]{1,5}|\*))?")
_URL_IS = "a url is like postgresql://collector@db.example/ratings, or postgresql://collector@/ratings?host=/run/postgresql"
PORT_FILE = "http-port"
"""In the data folder: the port that the pages are on, for those who ask a collector configured with port 0."""

Port = Annotated[int, Field(ge=0, le=65535)]


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("an origin is like http://127.0.0.1:8080, without a path")
    return value


def _postgresql(value: str) -> str:
    try:
        parts = urlsplit(value)
        password = parts.password
    except ValueError:
        raise ValueError(_URL_IS) from None  # whatever it was may hold a password
    if parts.scheme not in ("postgresql", "postgresql+psycopg") or not value.startswith(f"{parts.scheme}://"):
        raise ValueError(_URL_IS)
    if password is not None or "password" in parse_qs(parts.query, keep_blank_values=True):
        raise ValueError("the password does not belong into the url: write it into a file and name that as password_file")
    if not parts.path.strip("/"):
        raise ValueError(f"which database? {_URL_IS}")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MqttConfig(_Section):
    """How to reach the broker. TLS is used when `tls` is true or a `ca_file` is named."""

    host: str = "127.0.0.1"
    port: Port = 1883
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "hcp-collector"
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def uses_tls(self) -> bool:
        """True when the connection is to be encrypted."""
        return self.tls or self.ca_file is not None

    def read_password(self) -> str | None:
        """Return the password, or None when there is none; ConfigError when the file cannot be read."""
        return None if self.password_file is None else _read(self.password_file).strip()


class StoreConfig(_Section):
    """Where the records are: in `data_dir`, or with `url` in a PostgreSQL database."""

    url: Annotated[str, AfterValidator(_postgresql)] | None = None
    password_file: Path | None = None

    def read_password(self) -> str | None:
        """Return the password, or None when there is none; ConfigError when the file cannot be read."""
        return None if self.password_file is None else _read(self.password_file).strip()


class HallConfig(_Section):
    """One hall whose records are accepted."""

    key_file: Path


class AskConfig(_Section):
    """The login of `collector ask`: a user of its own, or a broker that names connections after users throws the collector off."""

    username: str | None = None
    password_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class HttpConfig(_Section):
    """Where the pages are. Beyond loopback, `host_names` must say under which names."""

    host: str = "127.0.0.1"
    port: Port = 8700
    host_names: list[str] = []
    embed_origins: list[Annotated[str, AfterValidator(_origin)]] = []

    @model_validator(mode="after")
    def _names_beyond_loopback(self) -> HttpConfig:
        if not is_loopback(self.host) and not self.host_names:
            raise ValueError("host is not loopback: host_names must list the names under which the pages are opened")
        return self


class Config(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=False
    )

    data_dir: Path
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    store: StoreConfig = Field(default_factory=StoreConfig)
    mqtt: MqttConfig = Field(default_factory=MqttConfig)
    halls: dict[str, HallConfig] = {}
    http: HttpConfig = Field(default_factory=HttpConfig)
    ask: AskConfig = Field(default_factory=AskConfig)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and nothing else speak."""
        return env_settings, init_settings

    def hall_keys(self) -> dict[str, bytes]:
        """Return the key of every hall; ConfigError for a file that is missing, open to others, or no key."""
        return {hall: read_hall_key(section.key_file) for hall, section in self.halls.items()}

    def asker(self) -> MqttConfig:
        """Return how `collector ask` reaches the broker; ConfigError where that would be in the collector's own name."""
        mine, its = self.ask, self.mqtt
        if (its.username, its.cert_file) != (None, None) and (
            (mine.username, mine.cert_file) == (None, None)
            or (mine.username or mine.cert_file) in (its.username, its.cert_file)
        ):
            raise ConfigError(
                "ask.username: 询问窗口需要另一个用户名（或证书），权限见 docs/mqtt.md a user of its own is needed to ask windows "
                "(or a certificate: ask.cert_file); its rights are in docs/mqtt.md"
            )
        return its.model_copy(update=mine.model_dump())


def load(path: Path) -> Config:
    """Read and check the configuration; ConfigError names the key and what to do."""
    _check_environment()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Notepad writes a BOM
    except (OSError, ValueError) as error:
        raise ConfigError(f"配置文件无法读取 cannot read {path}: {error}") from error
    try:
        config = Config(**values)
    except ValidationError as error:
        raise ConfigError(f"配置有误 in {path}:\n" + "\n".join(_sentences(error))) from error
    for hall in config.halls:
        if not _HALL.fullmatch(hall):
            raise ConfigError(f'配置有误 in {path}:\nhalls."{hall}": a hall is area/hall, such as "533103/dating"')
    return _absolute(config, path.resolve().parent)


def _check_environment() -> None:
    """Refuse variables that name no key of ours: pydantic-settings passes over a misspelt section without a word."""
    known = [PREFIX + name.upper() for name in _names(Config)]
    lines = []
    for name in sorted(os.environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known or upper.startswith(f"{PREFIX}HALLS__"):
            continue  # below `halls` the names are the halls' own, and what is there is checked with the rest
        short = [one.removeprefix(PREFIX) for one in known]
        near = difflib.get_close_matches(upper.removeprefix(PREFIX), short, n=1, cutoff=0.5)
        hint = f"，是否为 {PREFIX}{near[0]}？ did you mean {PREFIX}{near[0]}?" if near else f"; known: {', '.join(known)}"
        lines.append(f"{name}: 未知的环境变量 unknown environment variable{hint}")
    if lines:
        raise ConfigError("环境变量有误 in the environment:\n" + "\n".join(lines))


def _names(section: type[BaseModel]) -> Iterator[str]:
    """Yield the name of every key as it stands in the environment, sections themselves included."""
    for name, field in section.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}__{inner}" for inner in _names(field.annotation))


def read_hall_key(path: Path) -> bytes:
    """Return the 32 bytes of a hall key file (64 hex digits)."""
    text = _read(path).strip()
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"密钥文件对他人开放 the key file {path} is open to others: chmod 600 {path}")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"不是大厅密钥 {path} is not a hall key: {2 * KEY_BYTES} hex digits are expected")
    return key


def is_loopback(host: str) -> bool:
    """True for the names and addresses of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"文件无法读取 cannot read {path}: {error}") from error


def _absolute(config: Config, base: Path) -> Config:
    mqtt = config.mqtt
    files = {name: getattr(mqtt, name) for name in ("password_file", "ca_file", "cert_file", "key_file")}
    ask = config.ask
    own = {name: base / file for name in ("password_file", "cert_file", "key_file") if (file := getattr(ask, name)) is not None}
    store = config.store
    if store.password_file is not None:
        store = store.model_copy(update={"password_file": base / store.password_file})
    return config.model_copy(
        update={
            "data_dir": base / config.data_dir,
            "store": store,
            "ask": ask.model_copy(update=own),
            "mqtt": mqtt.model_copy(update={name: base / file for name, file in files.items() if file is not None}),
            "halls": {hall: HallConfig(key_file=base / section.key_file) for hall, section in config.halls.items()},
        }
    )


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for item in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            sentences.append(f"{path}: 未知的键 unknown key{_did_you_mean(item['loc'])}")
        elif item["type"] == "missing":
            sentences.append(f"{path}: 缺少 this key is missing")
        else:
            sentences.append(f"{path}: {item['msg']}")
    return sentences


def _did_you_mean(loc: tuple[int | str, ...]) -> str:
    model: Any = Config
    for part in loc[:-1]:
        field = model.model_fields.get(str(part)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        # in `halls` the part is the hall's own name, and every value is a HallConfig
        model = field.annotation if field is not None else HallConfig
    known = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    if near:
        return f"，是否为 {near[0]}？ did you mean {near[0]}?"
    return f"; known here: {', '.join(known)}"
