"""The contract between device, agent and collector.

What lives here: levels, frames, messages, the signed journal record, signatures, MQTT topics and payloads,
and the generator that turns them into the device codec, the protocol page, the golden vectors and the dissector.

What must not: I/O (the generator's writing of files apart), clocks, threads, or an import of any other room.
"""

PROTOCOL_VERSION = 1
"""The version N that this tree speaks."""

OLDEST_PROTOCOL_VERSION = 1
"""N-1 once there is one; a peer that speaks only older versions is refused with its name and the way out."""
