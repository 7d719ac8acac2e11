"""The agent's configuration: one TOML file, checked to the last key.

An unknown key is an error that names its path and the nearest known one: a misspelt key must not silently do nothing. Secrets stay
in files of their own. Relative paths are relative to the file. Called by the CLI; every failure is a ConfigError.
"""

from __future__ import annotations

import difflib
import os
import re
import ssl
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from host_agent.errors import ConfigError
from host_agent.link.search import Belongs
from host_agent.uplink.mqtt import Broker
from protocol.errors import PayloadError
from protocol.topics import Window

L = TypeVar("L", bound=BaseModel)

PREFIX = "HCP_AGENT_"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_FOLLOW_UP = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[A-Za-z0-9/._~=&?-]*\{evaluation\}[A-Za-z0-9/._~=&?-]*")


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("an origin is like http://127.0.0.1:8080, without a path")
    return value


def _follow_up(value: str) -> str:
    if not _FOLLOW_UP.fullmatch(value):
        raise ValueError("it is like https://hall.example/f/{evaluation}, with {evaluation} once")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlaceConfig(_Section):
    """Where this PC stands."""

    area: str
    hall: str
    window: str


class DeviceConfig(_Section):
    """How the device is found; without `port`, every USB serial port is asked for hello."""

    port: str | None = None
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,16}$")] | None = None
    dtr: bool | None = None
    rts: bool | None = None
    """The signals when the port is opened; as the board needs them (host_agent/link/boards) where they are not said."""


class MqttConfig(_Section):
    """How to reach the broker. TLS is used when `tls` is true or a `ca_file` is named."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    transport: Literal["tcp", "websockets"] = "tcp"
    """`websockets` where nothing but HTTP passes a firewall; the broker takes them at `websocket_path`."""
    websocket_path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/._~-]*$")] = "/mqtt"
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class FurtherLogin(_Section):
    """Another window's own login; one that names nothing logs in as the first window does."""

    username: str | None = None
    password_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class FurtherApi(_Section):
    """What another window has of the local API for itself."""

    compatibility_port: Annotated[int, Field(ge=0, le=65535)] | None = None


class FurtherRemote(_Section):
    """Another window's key for requests from afar; without it, nobody is answered there."""

    key_file: Path | None = None


class FurtherWindow(_Section):
    """Another window at this PC, with a device of its own; whatever is not said here is as in the first window's."""

    window: str
    device: DeviceConfig = DeviceConfig()
    mqtt: FurtherLogin = FurtherLogin()
    api: FurtherApi = FurtherApi()
    remote: FurtherRemote = FurtherRemote()


class ApiConfig(_Section):
    """The local API; always on loopback. `origins` lists the pages that may call it, `metrics` turns `/metrics` on."""

    port: Annotated[int, Field(ge=0, le=65535)] = 17610
    origins: list[Annotated[str, AfterValidator(_origin)]] = []
    show_level: bool = False
    """Whether the window may learn how a citizen has rated. Off: citizens do not dare to press while the clerk watches."""
    compatibility_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Where calls in the form of older evaluators are taken, usually 1919; not served without it."""
    compatibility_levels: Annotated[list[int], Field(min_length=5, max_length=5)] = [5, 4, 3, 2, 1]
    """The numbers of 非常满意 to 非常不满意 there, when `show_level` is on: each vendor counts in its own way."""
    follow_up_url: Annotated[str, AfterValidator(_follow_up)] | None = None
    """Where the collection serves the citizen's follow-up page, with `{evaluation}` for the evaluation's id."""
    metrics: bool = False


class RemoteConfig(_Section):
    """Requests from afar: none is answered without a key file. `allow` by default holds what only reads."""

    key_file: Path | None = None
    allow: list[Literal["status", "log", "records", "restart_link"]] = ["status", "log"]


class Config(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=False
    )

    data_dir: Path
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 90
    max_database_mb: Annotated[int, Field(ge=10, le=100_000)] = 256
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    place: PlaceConfig
    device: DeviceConfig = DeviceConfig()
    mqtt: MqttConfig = MqttConfig()
    api: ApiConfig = ApiConfig()
    remote: RemoteConfig = RemoteConfig()
    windows: list[FurtherWindow] = []
    """Further windows at this PC; see host_agent/windows."""
    _neighbours: frozenset[str] | None = PrivateAttr(None)
    """The devices of the other windows at this PC; None where there is no other window."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and nothing else speak."""
        return env_settings, init_settings

    def set_neighbours(self, devices: frozenset[str]) -> None:
        """Note the devices of the other windows at this PC; done by host_agent/windows."""
        self._neighbours = devices

    def belongs(self, device: str) -> Belongs:
        """Tell where a device belongs that answers.

        The only window of a PC takes every device, and complains of one that it does not expect: no rating may be lost for a
        key in a file. With several, a device goes to the window that names it, so that no rating is another window's; one that no
        window names is taken only at a port that is this window's own. It keeps its ratings until it is named.
        """
        if device == self.device.id or self._neighbours is None:
            return Belongs.HERE
        if device in self._neighbours:
            return Belongs.BESIDE
        return Belongs.NOWHERE if self.device.port is None else Belongs.HERE

    def window(self) -> Window:
        """Return the window; ConfigError when it fits no topic."""
        try:
            return Window(self.place.area, self.place.hall, self.place.window)
        except PayloadError as error:
            raise ConfigError(f"配置有误 place: {error}") from error

    def broker(self) -> Broker:
        """Return how to reach the broker, the password read from its file."""
        password = None
        if self.mqtt.password_file is not None:
            try:
                password = self.mqtt.password_file.read_text(encoding="utf-8-sig").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"文件无法读取 mqtt.password_file cannot be read: {error}") from error
        return Broker(
            host=self.mqtt.host,
            port=self.mqtt.port,
            protocol=self.mqtt.protocol,
            username=self.mqtt.username,
            password=password,
            tls=self._tls(),
            websocket_path=self.mqtt.websocket_path if self.mqtt.transport == "websockets" else None,
        )

    def _tls(self) -> ssl.SSLContext | None:
        mqtt = self.mqtt
        if not mqtt.tls and mqtt.ca_file is None:
            return None
        key, file = "mqtt.ca_file", mqtt.ca_file
        try:
            context = ssl.create_default_context(cafile=file)
            if mqtt.cert_file is not None:
                key, file = "mqtt.cert_file, mqtt.key_file", mqtt.cert_file
                context.load_cert_chain(file, mqtt.key_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"证书无法使用 {key}: {file} cannot be used: {error}") from error
        return context


def load(path: Path) -> Config:
    """Read and check the configuration; ConfigError has a line for every key that is wrong."""
    _check_environment()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Notepad writes a BOM
    except FileNotFoundError as error:
        raise ConfigError(
            f"配置文件无法读取 cannot read {path}: 没有此文件，请检查路径，或用 agent init 建立 "
            "there is no such file; check the path, or make one: agent init"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"配置文件无法读取 cannot read {path}: {error}") from error
    try:
        config = Config(**values)
    except ValidationError as error:
        lines = [_sentence(item["loc"], item["type"], item["msg"]) for item in error.errors(include_url=False)]
        raise ConfigError(f"配置有误 in {path}:\n" + "\n".join(lines)) from error
    config.window()
    base = path.resolve().parent
    windows = [
        one.model_copy(update={"mqtt": _beside(one.mqtt, base), "remote": _beside(one.remote, base)}) for one in config.windows
    ]
    sections = {"mqtt": _beside(config.mqtt, base), "remote": _beside(config.remote, base), "windows": windows}
    return config.model_copy(update={"data_dir": base / config.data_dir, **sections})


def _beside(login: L, base: Path) -> L:
    """Return the section with its files' paths taken from `base`."""
    names = (name for name in type(login).model_fields if name.endswith("_file"))
    return login.model_copy(update={name: base / value for name in names if (value := getattr(login, name)) is not None})


def _check_environment() -> None:
    """Refuse variables that name no key of ours: pydantic-settings passes over a misspelt section without a word."""
    known = [PREFIX + name.upper() for name in _names(Config)]
    lines = []
    for name in sorted(os.environ):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        short = [one.removeprefix(PREFIX) for one in known]
        near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), short, n=1, cutoff=0.5)
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


def _sentence(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    path = ".".join(str(part) for part in loc)
    if kind == "missing":
        return f"{path}: 缺少此项 this key is missing"
    if kind != "extra_forbidden":
        return f"{path}: {message}"
    section: type[BaseModel] = Config
    for part in loc[:-1]:
        if isinstance(part, int):
            continue  # which one of a list
        annotation = section.model_fields[part].annotation
        (section,) = get_args(annotation) or (annotation,)  # every section is a plain class, or a list of one
    near = difflib.get_close_matches(str(loc[-1]), section.model_fields, n=1, cutoff=0.5)
    hint = f"，是否为 {near[0]}？ did you mean {near[0]}?" if near else f"; known: {', '.join(section.model_fields)}"
    return f"{path}: 未知的键 unknown key{hint}"
