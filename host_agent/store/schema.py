"""The tables, as numbered migrations that are never edited once released.

`records` holds every record that came from a device, by (device, seq, mac): a device whose numbers come twice with different
content is a finding for the collector, not something to swallow here. `state` counts up: to send, sent, receipted.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

TO_SEND: Final = 0
SENT: Final = 1
RECEIPTED: Final = 2

migrations = Migrations("host_agent")


@migrations(name="0001_first")
def _first(db: Database) -> None:
    db.table("records").create(
        {
            "id": int,
            "device": str,
            "seq": int,
            "mac": bytes,
            "raw": bytes,
            "evaluation": str,
            "received_ms": int,
            "state": int,
            "sent_ms": int,
        },
        pk="id",
        not_null={"device", "seq", "mac", "raw", "received_ms", "state"},
    )
    db.table("records").create_index(["device", "seq", "mac"], unique=True)
    db.table("records").create_index(["state", "id"])
    db.table("devices").create(
        {
            "device": str,
            "next_seq": int,
            "receipt_seq": int,
            "receipt": bytes,
            "firmware": str,
            "boot": int,
            "seen_ms": int,
        },
        pk="device",
        not_null={"device", "next_seq", "receipt_seq"},
    )
    db.table("evaluations").create(
        {
            "id": str,
            "key": str,
            "case_json": str,
            "staff": str,
            "state": str,
            "reason": str,
            "timeout_ms": int,
            "created_ms": int,
            "ended_ms": int,
        },
        pk="id",
        not_null={"id", "case_json", "state", "timeout_ms", "created_ms"},
    )
    db.table("evaluations").create_index(["key"], unique=True)
    db.table("evaluations").create_index(["state"])
    db.table("facts").create({"name": str, "value": str}, pk="name", not_null={"name", "value"})
