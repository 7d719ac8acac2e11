"""What is wrong with a message, as a closed set, and the row that keeps it.

Evidence is kept, never acted upon: it makes no rating, moves no position and stops nothing. The same bad thing arriving
again raises a count; its fingerprint makes it the same thing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from protocol.topics import Window

KEPT_BYTES = 2048
"""How much of a bad message is kept; a genuine one has about 900 bytes."""


class EvidenceKind(Enum):
    """Why something that arrived is not simply stored."""

    MALFORMED = "malformed"
    """Topic, JSON, base64 or a field is not of the contract."""
    UNKNOWN_HALL = "unknown_hall"
    """No key is configured for the hall in the topic."""
    WRONG_KEY = "wrong_key"
    """The MAC was not made with this device's key: a forgery, or a device provisioned for another hall."""
    ALTERED = "altered"
    """The signed record is genuine, but what stands around it says something else."""
    DAMAGED = "damaged"
    """The record's CRC-32 does not match."""
    UNSUPPORTED = "unsupported"
    """A record format or signature algorithm that this program does not know."""
    CONFLICT = "conflict"
    """A genuine record with a number that another genuine record already has."""
    BROKEN_CHAIN = "broken_chain"
    """The record does not carry the MAC of its stored predecessor."""
    CASE_MISMATCH = "case_mismatch"
    """The case beside a genuine record is not the one that was signed; the record is stored without it."""
    LATE_CASE = "late_case"
    """A second, different case was named afterwards for one rating; the first one counts."""
    ABSENCE = "absence"
    """Something else was said of an absence before; that counts."""

    @property
    def chinese(self) -> str:
        """The kind as an officer reads it."""
        return _CHINESE[self]

    @property
    def advice(self) -> str:
        """The one thing to do next."""
        return _ADVICE[self]

    @property
    def advice_chinese(self) -> str:
        """The same for an officer."""
        return _ADVICE_CHINESE[self]


_CHINESE = {
    EvidenceKind.MALFORMED: "格式错误",
    EvidenceKind.UNKNOWN_HALL: "大厅未登记",
    EvidenceKind.WRONG_KEY: "签名不符",
    EvidenceKind.ALTERED: "内容被改",
    EvidenceKind.DAMAGED: "数据损坏",
    EvidenceKind.UNSUPPORTED: "版本不支持",
    EvidenceKind.CONFLICT: "编号冲突",
    EvidenceKind.BROKEN_CHAIN: "链条断裂",
    EvidenceKind.CASE_MISMATCH: "办件不符",
    EvidenceKind.LATE_CASE: "补登冲突",
    EvidenceKind.ABSENCE: "缺席记录冲突",
}
_ADVICE = {
    EvidenceKind.MALFORMED: "check which program publishes on this topic, and its version",
    EvidenceKind.UNKNOWN_HALL: 'add [halls."AREA/HALL"] with its key_file to the configuration, or correct the agent\'s window',
    EvidenceKind.WRONG_KEY: "check that the device was provisioned with this hall's key; if it was, somebody is forging",
    EvidenceKind.ALTERED: "examine the PC at this window: the message was changed after the device signed it",
    EvidenceKind.DAMAGED: "check the agent's disk and memory; the device will send the record again",
    EvidenceKind.UNSUPPORTED: "update the collector: the device's firmware is newer",
    EvidenceKind.CONFLICT: "take the device out of service: its numbers repeat, or its key has been copied",
    EvidenceKind.BROKEN_CHAIN: "take the device out of service and keep it as it is: its journal has two histories",
    EvidenceKind.CASE_MISMATCH: "examine the PC at this window: the rating was attached to another case",
    EvidenceKind.LATE_CASE: "ask at this window which case it was: two were named for one rating",
    EvidenceKind.ABSENCE: "ask at this window whether its PC was set back to an earlier image; if not, somebody else speaks for it",
}
_ADVICE_CHINESE = {
    EvidenceKind.MALFORMED: "请检查是哪个程序在此主题发布消息及其版本",
    EvidenceKind.UNKNOWN_HALL: "请在归集配置中登记该大厅的密钥，或更正窗口代理的大厅设置",
    EvidenceKind.WRONG_KEY: "请确认评价器是否用本大厅密钥发放；如已发放，则有人伪造",
    EvidenceKind.ALTERED: "请检查该窗口电脑：消息在评价器签名之后被改动",
    EvidenceKind.DAMAGED: "请检查窗口电脑的磁盘和内存；评价器会重新发送",
    EvidenceKind.UNSUPPORTED: "请升级归集程序：评价器固件较新",
    EvidenceKind.CONFLICT: "请停用该评价器：编号重复，或密钥已被复制",
    EvidenceKind.BROKEN_CHAIN: "请停用该评价器并保持原样：其日志出现两份历史",
    EvidenceKind.CASE_MISMATCH: "请检查该窗口电脑：评价被挂到了另一办件",
    EvidenceKind.LATE_CASE: "请向该窗口核实是哪一办件：同一评价补登了两个办件",
    EvidenceKind.ABSENCE: "请向该窗口核实电脑是否还原过旧镜像；如没有，则有人冒充该窗口",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One bad thing: what, where, about which record, and the bytes."""

    kind: EvidenceKind
    topic: str
    window: Window | None
    device: str | None
    seq: int | None
    text: str
    payload: bytes

    @property
    def fingerprint(self) -> str:
        """Return 64 hex digits, equal for the same bad thing arriving again."""
        digest = hashlib.sha256(f"{self.kind.value}\n{self.topic}\n{self.device}/{self.seq}\n".encode())
        digest.update(self.payload)
        return digest.hexdigest()
