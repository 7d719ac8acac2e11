"""The Wireshark dissector: tshark reads frames of every message from a capture and names what is damaged."""

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from protocol.framing import Frame, encode_frame
from protocol.generate import schema
from protocol.messages import Message
from protocol.record import Record

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "protocol" / "wireshark" / "evaluator.lua"
VECTORS: dict[str, Any] = json.loads((ROOT / "protocol" / "golden_vectors.json").read_text(encoding="utf-8"))
LINK_TYPE_USER0 = 147


def write_capture(path: Path, packets: list[bytes]) -> None:
    """Write a pcap file, one second between packets."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINK_TYPE_USER0))
        for second, packet in enumerate(packets):
            file.write(struct.pack("<IIII", second, 0, len(packet), len(packet)) + packet)


def run_tshark(tshark: str, folder: Path, packets: list[bytes], *arguments: str) -> str:
    """Return what tshark prints about the packets."""
    write_capture(folder / "line.pcap", packets)
    # a home of its own keeps the personal plugins and settings of whoever runs this out of the test
    settings = os.environ | {"HOME": str(folder), "WIRESHARK_CONFIG_DIR": str(folder), "LC_ALL": "C.UTF-8"}
    command = [tshark, "-X", f"lua_script:{SCRIPT}", "-r", str(folder / "line.pcap"), *arguments]
    run = subprocess.run(command, capture_output=True, env=settings, timeout=60, check=False)
    assert run.returncode == 0, run.stderr.decode()
    assert "Lua: Error" not in run.stdout.decode() + run.stderr.decode()
    return run.stdout.decode()


def fields_seen(tshark: str, folder: Path, packets: list[bytes], names: list[str]) -> list[dict[str, str]]:
    """Return the given fields of each packet as tshark shows them."""
    options = [option for name in names for option in ("-e", name)]
    lines = run_tshark(tshark, folder, packets, "-T", "fields", "-E", "separator=/t", *options).splitlines()
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def shown(field: schema.FieldInfo, value: Any) -> str:
    """Return a JSON value as tshark prints it."""
    if isinstance(value, str):
        return value
    return f"0x{value:0{2 * (field.size or 0)}x}" if field.is_flags else str(value)


@pytest.mark.parametrize("message", schema.messages(), ids=lambda message: str(message.__name__))
def test_every_field_of_every_message_is_shown(tshark: str, tmp_path: Path, message: type[Message]) -> None:
    vectors = [vector for vector in VECTORS["messages"] if vector["message"] == message.__name__]
    fields = schema.fields_of(message)
    filters = {f"evaluator.{schema.snake(message.__name__)}.{field.name}": field for field in fields}
    names = ["evaluator.message", "evaluator.correlation", *filters]
    seen = fields_seen(tshark, tmp_path, [bytes.fromhex(vector["line"]) for vector in vectors], names)
    for vector, got in zip(vectors, seen, strict=True):
        wanted = {name: shown(field, vector["fields"][field.name]) for name, field in filters.items()}
        wanted |= {"evaluator.message": message.__name__, "evaluator.correlation": str(vector["correlation"])}
        assert got == wanted


def test_the_record_inside_a_record_message_is_shown(tshark: str, tmp_path: Path) -> None:
    packets = [encode_frame(Frame(0x43, 0, bytes.fromhex(vector["record"]))) for vector in VECTORS["records"]]
    filters = {f"evaluator.record.{field.name}": field for field in schema.fields_of(Record)}
    seen = fields_seen(tshark, tmp_path, packets, list(filters))
    for vector, got in zip(VECTORS["records"], seen, strict=True):
        values = vector["fields"] | {"mac": vector["mac"], "crc": vector["crc"]}
        assert got == {name: shown(field, values[field.name]) for name, field in filters.items()}


def test_members_of_enums_and_bits_have_their_names(tshark: str, tmp_path: Path) -> None:
    packets = [bytes.fromhex(vector["line"]) for vector in VECTORS["messages"] if vector["name"] == "RecordMessage: a rating"]
    text = run_tshark(tshark, tmp_path, packets, "-V")
    for wanted in ("kind: RATING (2)", "quality: SYNCHRONISED (3)", "staff: S0815", "REVISION: False", "device → host"):
        assert wanted in text


def test_the_packet_list_tells_no_level(tshark: str, tmp_path: Path) -> None:
    rating = VECTORS["records"][2]["record"]
    text = run_tshark(tshark, tmp_path, [encode_frame(Frame(0x43, 0, bytes.fromhex(rating)))])
    assert text.rstrip().endswith("RecordMessage: RATING 3")


def test_damage_is_named_by_its_kind(tshark: str, tmp_path: Path) -> None:
    vectors = [vector for vector in VECTORS["bad_frames"] if vector["reason"] in ("encoding", "crc", "short")]
    packets = [b"\x00" + bytes.fromhex(vector["encoded"]) + b"\x00" for vector in vectors]
    expert = ["evaluator.crc.bad", "evaluator.encoding.bad", "_ws.expert.message"]
    for vector, got in zip(vectors, fields_seen(tshark, tmp_path, packets, expert), strict=True):
        bad_crc = vector["reason"] == "crc"
        assert bool(got["evaluator.crc.bad"]) == bad_crc, vector["name"]
        assert bool(got["evaluator.encoding.bad"]) != bad_crc, vector["name"]
        assert ("CRC-32 does not match" in got["_ws.expert.message"]) == bad_crc, vector["name"]


def test_a_damaged_record_in_a_whole_frame_is_named(tshark: str, tmp_path: Path) -> None:
    raw = bytearray.fromhex(VECTORS["records"][2]["record"])
    raw[3] ^= 1
    (got,) = fields_seen(
        tshark, tmp_path, [encode_frame(Frame(0x43, 0, bytes(raw)))], ["evaluator.record.crc.bad", "evaluator.crc.bad"]
    )
    assert got["evaluator.record.crc.bad"]
    assert not got["evaluator.crc.bad"]


def test_an_unknown_type_and_a_wrong_length_are_named(tshark: str, tmp_path: Path) -> None:
    packets = [
        encode_frame(Frame(0x7F, 1, b"later")),
        encode_frame(Frame(0x11, 1, b"abc")),
        encode_frame(Frame(0x10, 1, bytes(20))),
    ]
    names = ["evaluator.type.unknown", "evaluator.length.bad"]
    seen = [(bool(got[names[0]]), bool(got[names[1]])) for got in fields_seen(tshark, tmp_path, packets, names)]
    assert seen == [(True, False), (False, True), (False, False)]


def test_a_frame_without_delimiters_is_read_too(tshark: str, tmp_path: Path) -> None:
    body = encode_frame(Frame(0x13, 7, b""))[1:-1]
    (got,) = fields_seen(tshark, tmp_path, [body], ["evaluator.message"])
    assert got["evaluator.message"] == "StatusRequest"
