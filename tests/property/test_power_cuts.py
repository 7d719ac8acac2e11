"""The power cut at and inside of every flash operation of a journal's life; a share of them without `--long`."""

from __future__ import annotations

from random import Random

import pytest

from simulator.hardware.faulty_flash import SHAPES
from tests.journal_sweep import Sweep


@pytest.mark.parametrize("doubles", [False, True], ids=["once", "and again in what follows"])
def test_no_power_cut_costs_a_record_or_gives_a_number_twice(doubles: bool, pytestconfig: pytest.Config) -> None:
    stride = 1 if pytestconfig.getoption("--long") else 3
    sweep = Sweep(Random(1), stride, begin=doubles, doubles=doubles)
    sweep.live()
    assert sweep.operations > 180
    assert sweep.cuts == len(range((doubles - 1) % stride, sweep.operations, stride)) * len(SHAPES)
    assert sweep.torn > sweep.cuts // 4, "cuts in the middle of a record are the point of it"


def test_other_bits_are_weak(pytestconfig: pytest.Config) -> None:
    long = pytestconfig.getoption("--long")
    for seed in range(2, 12 if long else 4):
        sweep = Sweep(Random(seed), 1 if long else 19, begin=seed, doubles=True)
        sweep.live()
        assert sweep.cuts > 50
