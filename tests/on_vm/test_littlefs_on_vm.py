"""Journal sectors that live as files in a real littlefs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.micropython


def test_raw_sectors_live_beside_a_busy_file_system(run_on_vm: Callable[..., list[str]]) -> None:
    told = run_on_vm("littlefs_on_vm.py")
    print("\n".join(told))  # noqa: T201  # what a technician would read
    assert all(line.startswith("OK ") for line in told)
    assert len(told) == 10


def test_a_power_cut_in_any_block_operation_costs_neither_records_nor_files(
    run_on_vm: Callable[..., list[str]], pytestconfig: pytest.Config
) -> None:
    stride = 1 if pytestconfig.getoption("--long") else 4
    (told,) = run_on_vm("littlefs_cuts_on_vm.py", str(stride))
    word, operations, cuts = told.split()
    assert word == "SWEPT"
    assert int(operations) > 200
    assert int(cuts) == 5 * (int(operations) // stride)
