"""Who is answered: only requests that are signed for this window and this connection, each once, and not too many (pure).

The session in the signature is drawn anew for each connection to the broker, so a request that was kept is nothing at the next
one. Within a connection the answers of the latest requests are kept and given again, and an id at or below one that was
forgotten is refused: nothing is done twice, with no clock and in bounded memory. Ids grow because askers begin them with their own
clocks. What is not signed gets no answer. Called by the publisher in the agent's thread; an act that fails is answered as
unavailable, as a call of the local API would be, and only a damaged database goes further.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping

from host_agent.instant import Instant
from host_agent.store.damage import is_damage
from protocol.errors import PayloadError
from protocol.payloads import Payload, RemoteRequest
from protocol.remote import ARGUMENTS, Asked, Refusal, make_answer, request_is_genuine
from protocol.topics import Window

log = logging.getLogger("agent.remote")

MOST_REQUEST_BYTES = 4096
MOST_PER_MINUTE = 30
"""Requests that are carried out."""
MOST_ANSWERS_PER_MINUTE = 120
"""Answers of any kind, refusals and repetitions too; what is asked beyond that is dropped."""
KEPT_ANSWERS = 32
MINUTE_S = 60.0

Act = Callable[[Payload, Instant], Mapping[str, object]]


class RefusedError(Exception):
    """An act that is not carried out, with the word for it and a sentence."""

    def __init__(self, word: Refusal, text: str) -> None:
        super().__init__(text)
        self.word = word


class Gate:
    """Takes what comes on the topic of requests and returns what is to be published as its answer."""

    def __init__(self, key: bytes, window: Window, allowed: Collection[str], acts: Mapping[Asked, Act]) -> None:
        self._key = key
        self._window = window
        self._allowed = frozenset(allowed)
        self._acts = acts
        self._session = ""
        self._kept: dict[str, bytes] = {}
        self._forgotten = ""
        """The highest id whose answer was forgotten; ids are hex of one length, so texts compare as numbers do."""
        self._carried_out: deque[float] = deque()
        self._answered: deque[float] = deque()
        self._is_told = False
        self.counters: Counter[str] = Counter()

    def received(self, payload: bytes, session: str, now: Instant) -> bytes | None:
        """Take a request; return its answer, or None for one that gets none. `session` is that of the connection it came by."""
        said = self._signed(payload)
        if said is None:
            self._tell_unsigned()
            return None
        if said.session != session:
            self.counters["remote_late"] += 1  # kept by the broker or by somebody, and nothing now
            return None
        if session != self._session:
            self._session, self._forgotten, self._is_told = session, "", False
            self._kept.clear()
        if not _has_room(self._answered, MOST_ANSWERS_PER_MINUTE, now):
            self.counters["remote_dropped"] += 1
            return None
        if said.id in self._kept:
            self.counters["remote_repeated"] += 1
            return self._kept[said.id]
        if said.id <= self._forgotten:
            return self._refusal(
                said, Refusal.TOO_OLD, "请求编号过旧，请检查询问方时钟 the id is too old: check the asker's clock"
            )
        answer = self._answer(said, now)
        self._keep(said.id, answer)
        return answer

    def _signed(self, payload: bytes) -> RemoteRequest | None:
        if len(payload) > MOST_REQUEST_BYTES:
            return None
        try:
            said = RemoteRequest.from_json(payload)
        except PayloadError:
            return None
        return said if request_is_genuine(self._key, self._window, said) else None

    def _tell_unsigned(self) -> None:
        self.counters["remote_unsigned"] += 1
        log.log(
            logging.DEBUG if self._is_told else logging.WARNING,
            "远程请求的签名不符，不予答复 a remote request is not signed for this window and gets no answer: is remote.key_file this"
            " window's? Who else may publish to it?",
        )
        self._is_told = True

    def _answer(self, said: RemoteRequest, now: Instant) -> bytes:
        try:
            body = self._do(said, now)
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            answer = make_answer(self._key, self._window, said.session, said.id, "ok", text).to_json()
        except RefusedError as error:
            return self._refusal(said, error.word, str(error))
        except Exception as error:
            if is_damage(error):
                raise
            log.exception("远程请求 %s 未能完成 a remote request failed", said.kind)
            return self._refusal(said, Refusal.UNAVAILABLE, "未能完成，见窗口电脑日志 it failed, see the log of the window PC")
        self.counters["remote_answered"] += 1
        log.info("已答复远程请求 %s a remote request was answered", said.kind)
        return answer

    def _do(self, said: RemoteRequest, now: Instant) -> Mapping[str, object]:
        try:
            asked = Asked(said.kind)
        except ValueError:
            raise RefusedError(Refusal.UNKNOWN_KIND, "此版本不支持，请更新代理程序 not known here: update the agent") from None
        if asked.value not in self._allowed:
            raise RefusedError(Refusal.NOT_ALLOWED, f"本窗口配置未允许 not allowed here: add it to remote.allow: {asked.value}")
        try:
            arguments = ARGUMENTS[asked].from_json(said.arguments.encode("utf-8"))
        except PayloadError as error:
            raise RefusedError(Refusal.BAD_ARGUMENTS, f"参数有误 {error}") from None
        if not _has_room(self._carried_out, MOST_PER_MINUTE, now):
            raise RefusedError(Refusal.BUSY, f"每分钟至多 {MOST_PER_MINUTE} 次 at most so many a minute: ask again later")
        return self._acts[asked](arguments, now)

    def _refusal(self, said: RemoteRequest, word: Refusal, text: str) -> bytes:
        self.counters["remote_refused"] += 1
        log.info("未执行远程请求 %s a remote request was refused: %s", said.kind, word.value)
        body = json.dumps({"text": text}, ensure_ascii=False, separators=(",", ":"))
        return make_answer(self._key, self._window, said.session, said.id, word.value, body).to_json()

    def _keep(self, request_id: str, answer: bytes) -> None:
        self._kept[request_id] = answer
        if len(self._kept) > KEPT_ANSWERS:
            self._forgotten = min(self._kept)
            del self._kept[self._forgotten]


def _has_room(times: deque[float], most: int, now: Instant) -> bool:
    """Note one more in the last minute, if it is not one too many."""
    while times and now.mono_s - times[0] >= MINUTE_S:
        times.popleft()
    if len(times) >= most:
        return False
    times.append(now.mono_s)
    return True
