"""Runs inside the MicroPython VM: stuffing and signatures of the device against the golden vectors.

Arguments: the root of the repository, the path of the vectors. Prints a line per difference and, last, `CHECKED n`.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])
from firmware.evaluator import wire
from firmware.evaluator.fast import stuff_into, unstuff
from firmware.evaluator.signer import Signer

done = 0


def check(name: str, got: object, wanted: object) -> None:
    """Count one comparison; print it when it fails."""
    global done
    done += 1
    if got != wanted:
        sys.stdout.write("DIFFERENT " + name + ": " + repr(got) + " instead of " + repr(wanted) + "\n")


def unstuffed(encoded: bytes) -> bytes | None:
    """Decode as the link does, in a buffer that is longer than the frame."""
    buffer = bytearray(encoded) + bytearray(b"\x77" * 8)
    length = unstuff(buffer, len(encoded))
    check("bytes behind a frame", bytes(buffer[len(encoded) :]), b"\x77" * 8)
    return bytes(buffer[:length]) if length >= 0 else None


with open(sys.argv[2]) as file:
    vectors = json.load(file)

for vector in vectors["stuffing"]:
    body, encoded = bytes.fromhex(vector["body"]), bytes.fromhex(vector["encoded"])
    target = bytearray(len(body) + 12 + len(body) // 50)
    end = stuff_into(body, len(body), target, 3)
    check(vector["name"], bytes(target[3:end]), encoded)
    check(vector["name"] + " room", end - 3 <= len(body) + 1 + len(body) // 50, True)
    check(vector["name"] + " back", unstuffed(encoded), body)

for vector in vectors["bad_frames"]:
    encoded = bytes.fromhex(vector["encoded"])
    if len(encoded) <= wire.MAX_ENCODED_BYTES:
        check(vector["name"], unstuffed(encoded) is None, vector["reason"] == "encoding")

signer = Signer(bytes.fromhex(vectors["device_key"]), vectors["device"].encode())
for vector in vectors["records"] + vectors["single_records"]:
    record = bytes.fromhex(vector["record"])
    check(vector["name"], signer.mac(record[: wire.SIGNED_BYTES]).hex(), vector["mac"])
    check(vector["name"] + " in a view", signer.mac(memoryview(record)[: wire.SIGNED_BYTES]).hex(), vector["mac"])

for vector in vectors["receipts"]:
    payload = bytes.fromhex(vector["payload"])
    for_it = Signer(bytes.fromhex(vectors["device_key"]), vector["device"].encode())
    check(vector["name"], for_it.receipt_is_genuine(memoryview(payload)[:-16], payload[-16:]), vector["genuine"])

sys.stdout.write("CHECKED " + str(done) + "\n")
