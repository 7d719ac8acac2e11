"""All targets, by name."""

from __future__ import annotations

from tools.fuzz import broker, device, http, line, records
from tools.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (line, records, device, broker, http) for target in module.TARGETS
}
