"""Runs inside the MicroPython VM: the power cut in every flash operation of a journal's life, in every shape.

Arguments: the root of the repository, the stride, with which operation to begin, `doubles` or `singles`. Prints
`SWEPT operations cuts numbers_passed_over`; whatever is wrong raises.
"""

import random
import sys

sys.path.insert(0, sys.argv[1])
from tests.journal_sweep import Sweep

random.seed(int(sys.argv[3]))
sweep = Sweep(random, int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "doubles")  # type: ignore[arg-type]  # MicroPython has the module only
sweep.live()
sys.stdout.write("SWEPT " + str(sweep.operations) + " " + str(sweep.cuts) + " " + str(sweep.torn) + "\n")
