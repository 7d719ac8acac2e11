"""One short connection to the broker: hear the window's state, send one signed request, wait for its signed answer.

The client id is drawn for each connection, so that the collector's own session is left alone. An answer counts only when it is
signed with the window's key and names the request. Called by the command `collector ask`; every failure is an AskError with the one
thing to do.
"""

from __future__ import annotations

import json
import queue
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import paho.mqtt.client as paho

from collector.client import new_client
from collector.config import MqttConfig
from collector.errors import AskError
from protocol.errors import PayloadError
from protocol.payloads import Payload, RemoteAnswer, State
from protocol.remote import Asked, Refusal, answer_is_genuine, make_request
from protocol.topics import Down, Up, Window

KEEPALIVE_S = 30
STATE_WITHIN_S = 5.0
"""A broker sends what is retained at once; what has not come by then is not there."""
REFUSED: Final = {
    Refusal.UNKNOWN_KIND: "代理程序不认识此请求 the agent does not know this request",
    Refusal.NOT_ALLOWED: "窗口未允许 the window does not allow it",
    Refusal.BAD_ARGUMENTS: "参数有误 the arguments are wrong",
    Refusal.BUSY: "窗口忙 the window is busy",
    Refusal.TOO_LARGE: "一次要求过多 too much at once",
    Refusal.TOO_OLD: "请求编号过旧 the request's id is too old",
    Refusal.UNAVAILABLE: "暂时无法完成 it cannot be done now",
}


def ask_window(
    login: MqttConfig, window: Window, key: bytes, asked: Asked, arguments: Payload, timeout_s: float
) -> dict[str, Any]:
    """Return the body of the answer; AskError says why there is none."""
    line = _Line(login, window)
    try:
        line.open(timeout_s)
        return _Asking(line, window, key, time.monotonic() + timeout_s).ask(asked, arguments)
    finally:
        line.close()


class _Line:
    """The connection; what it hears is in `heard`, an AskError where it ends."""

    def __init__(self, login: MqttConfig, window: Window) -> None:
        self.heard: queue.SimpleQueue[State | RemoteAnswer | AskError] = queue.SimpleQueue()
        self._place = f"{login.host}:{login.port}"
        self._login = login
        self._topics: dict[str, type[State] | type[RemoteAnswer]] = {
            window.up(Up.STATE): State,
            window.up(Up.ANSWER): RemoteAnswer,
        }
        self._ready: queue.SimpleQueue[AskError | None] = queue.SimpleQueue()
        self._client = self._make_client()

    def open(self, timeout_s: float) -> None:
        """Connect and subscribe."""
        try:
            self._client.connect(self._login.host, self._login.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise AskError(
                f"无法连接消息服务器 {self._place} the broker cannot be reached ({error}); check [mqtt] and the network"
            ) from error
        self._client.loop_start()
        try:
            trouble = self._ready.get(timeout=timeout_s)
        except queue.Empty:
            raise AskError(f"消息服务器 {self._place} 未应答 the broker does not answer; check [mqtt]") from None
        if trouble is not None:
            raise trouble

    def publish(self, topic: str, payload: bytes) -> None:
        """Send the request."""
        self._client.publish(topic, payload, qos=1)

    def close(self) -> None:
        """End the connection."""
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self) -> paho.Client:
        client = new_client(self._login, f"hcp-ask-{secrets.token_hex(6)}", keeps_session=False)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            self._ready.put(
                AskError(
                    f"消息服务器拒绝连接，请检查用户名和密码 the broker refuses the connection: {reason}; check [ask] username and "
                    "password_file"
                )
            )
            return
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: list[Any], _more: Any) -> None:
        refused = any(reason.is_failure for reason in reasons)
        topics = ", ".join(self._topics)
        self._ready.put(
            AskError(f"没有订阅权限 no right to subscribe: grant [ask] {topics} (docs/mqtt.md)") if refused else None
        )

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        trouble = AskError(
            f"消息服务器中断了连接 the broker ended the connection ({reason}): may this user publish on down/request (docs/mqtt.md)? "
            "Does somebody else ask with it just now?"
        )
        self._ready.put(trouble)
        self.heard.put(trouble)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            self.heard.put(self._topics[message.topic].from_json(bytes(message.payload)))
        except (PayloadError, KeyError, UnicodeDecodeError):
            return  # of somebody who may write there and is none of ours


class _Asking:
    """One request over an open line."""

    def __init__(self, line: _Line, window: Window, key: bytes, deadline_s: float) -> None:
        self._line = line
        self._window = window
        self._key = key
        self._deadline_s = deadline_s
        self._others_answers = 0

    def ask(self, asked: Asked, arguments: Payload) -> dict[str, Any]:
        """Return the body of the answer."""
        session = self._session()
        request_id = f"{time.time_ns() // 1000:016x}{secrets.token_hex(8)}"
        words = arguments.to_json().decode("utf-8")
        request = make_request(self._key, self._window, session, request_id, asked.value, words)
        self._line.publish(self._window.down(Down.REQUEST), request.to_json())
        answer = self._answer(session, request_id)
        body = _body(answer.body)
        if answer.word != "ok":
            raise AskError(f"{_why(answer.word)}: {_printable(str(body.get('text', '')))}")
        return body

    def _session(self) -> str:
        """Return the session that the window's agent has now."""
        state = self._next(lambda one: isinstance(one, State), min(self._deadline_s, time.monotonic() + STATE_WITHIN_S))
        path = self._window.path
        if not isinstance(state, State):
            raise AskError(
                f"没有这个窗口 no agent has ever said hello from {path}: check the path, and that [ask] may read its up/state "
                "(docs/mqtt.md)"
            )
        if not state.online:
            raise AskError(
                f"窗口 {path} 不在线，自 is offline since {_local(state.since_ms)}: see whether the PC is on and has a network"
            )
        return state.session

    def _answer(self, session: str, request_id: str) -> RemoteAnswer:
        def is_about_it(one: State | RemoteAnswer) -> bool:
            if isinstance(one, State):
                # a late will names another session; what is online with another one, or gone with this one, has the answer not
                return one.online != (one.session == session)
            if one.request == request_id and not answer_is_genuine(self._key, self._window, one):
                self._others_answers += 1
                return False
            return (one.request, one.session) == (request_id, session)

        found = self._next(is_about_it, self._deadline_s)
        if isinstance(found, RemoteAnswer):
            return found
        if isinstance(found, State):
            what = "已重新连接 has connected anew" if found.online else "已断开 has gone offline"
            raise AskError(f"窗口 {self._window.path} {what} in the meantime: 请再问一次 ask again")
        if self._others_answers:
            raise AskError(
                f"收到 {self._others_answers} 份签名不符的答复 answers came that are not signed by this window: who else may publish "
                "on its up/answer?"
            )
        raise AskError(
            f"窗口 {self._window.path} 在线但未答复 is online and does not answer: 该电脑上有 is [remote] key_file there, with this "
            "window's key (collector remote-key), and may the agent's account read it? May [ask] publish on its "
            "down/request (docs/mqtt.md)?"
        )

    def _next(self, is_wanted: Callable[[State | RemoteAnswer], bool], deadline_s: float) -> State | RemoteAnswer | None:
        """Return the next thing that is wanted; None when there was none in time."""
        while True:
            try:
                one = self._line.heard.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(one, AskError):
                raise one
            if is_wanted(one):
                return one


def _body(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise AskError("窗口的答复无法读取 the window's answer cannot be read: update the collector")
    return body


def _why(word: str) -> str:
    try:
        return REFUSED[Refusal(word)]
    except ValueError:
        return f"被拒绝 refused ({word})"


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _local(since_ms: int) -> str:
    try:
        return datetime.fromtimestamp(since_ms / 1000).astimezone().isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        return "?"
