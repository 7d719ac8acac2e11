"""A press inside the MicroPython VM: from the button's meaning to the lamps, beside its signature, checksum and packing alone.

The flash is memory in which a program is one copy and its time is taken out: what is left is what our code costs. The VM of this
machine is some forty times as fast as a board; the ratio is what carries over.
"""

from __future__ import annotations

import subprocess

from simulator.device.engine import ROOT, micropython
from tools.bench.table import Effort, Goal, Row, Skipped

SCRIPT = ROOT / "tools" / "bench" / "press_on_vm.py"


def press_rows(effort: Effort) -> list[Row | Skipped]:
    """Medians of rounds that alternate inside the VM."""
    vm = micropython()
    if vm is None:
        return [Skipped("press", "there is no MicroPython VM here")]
    done = subprocess.run(
        [vm, str(SCRIPT), str(effort.of(60, 15))],
        env={"MICROPYPATH": f"{ROOT}:.frozen"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    ours, floor = (float(word) for word in done.stdout.split())
    what = "device: press → durable → thanks, without flash time (VM)"
    return [Row("press", what, ours, "µs", floor, "HMAC + CRC + struct", Goal(at_most=1.5))]
