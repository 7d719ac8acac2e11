"""The journal and the signatures on the real VM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.hardware.faulty_flash import SHAPES

pytestmark = pytest.mark.micropython

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "golden_vectors.json"


@pytest.mark.parametrize("seed", range(4))
def test_the_journal_survives_power_cuts(run_on_vm: Callable[..., list[str]], seed: int) -> None:
    (told,) = run_on_vm("power_cuts_on_vm.py", str(seed), "60")
    word, records, cuts, _refused = told.split()
    assert (word, cuts) == ("CHECKED", "60")
    assert int(records) > 500


@pytest.mark.parametrize("cuts", ["singles", "doubles"])
def test_a_power_cut_in_any_flash_operation_costs_nothing(
    run_on_vm: Callable[..., list[str]], cuts: str, pytestconfig: pytest.Config
) -> None:
    stride = 1 if pytestconfig.getoption("--long") else 4
    (told,) = run_on_vm("power_sweep_on_vm.py", str(stride), "1", cuts)
    word, operations, tried, passed_over = told.split()
    assert word == "SWEPT"
    assert int(tried) == len(SHAPES) * len(range(0, int(operations), stride))
    assert int(passed_over) > int(tried) // 4


def test_stuffing_and_signatures_pass_the_vectors(run_on_vm: Callable[..., list[str]]) -> None:
    *different, last = run_on_vm("vectors_on_vm.py", str(VECTORS))
    assert different == []
    assert int(last.split()[1]) > 150
