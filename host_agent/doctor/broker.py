"""The way to the collection: configuration, name, port, certificate, login, rights."""

from __future__ import annotations

from collections.abc import Iterator

from host_agent.config import Config
from host_agent.doctor.finding import Finding, Grade
from host_agent.errors import AgentError
from host_agent.store.database import client_id
from host_agent.uplink.login import try_login
from host_agent.uplink.reach import why_not

BROKER = "消息服务器 broker"
LOGIN = "登录与权限 login and rights"


def findings(config: Config, *, is_running: bool) -> Iterator[Finding]:
    """Look at each step, the next one only after the one before it is good."""
    try:
        broker = config.broker()
    except AgentError as error:
        yield Finding(BROKER, Grade.FAIL, str(error))
        return
    why = why_not(broker)
    if why is not None:
        yield Finding(BROKER, Grade.FAIL, why)
        return
    place = f"{broker.host}:{broker.port}{'' if broker.tls is None else ' TLS'}"
    yield Finding(BROKER, Grade.OK, place)
    if is_running:  # it bears the client id that a login here would need
        return
    window = config.window()
    try:
        refused = try_login(broker, client_id(config.data_dir, window.path, keep=False), window.all_down)
    except OSError as error:
        refused = f"{place}: {error}"
    if refused is None:
        yield Finding(LOGIN, Grade.OK, broker.username or "未用用户名 no user name")
    else:
        yield Finding(LOGIN, Grade.FAIL, refused)
