"""Coverage-guided fuzzing of everything that takes bytes from outside: `python -m tools.fuzz [target…] --seconds N`.

One module for each kind of entrance; each target makes a check that takes any bytes and raises when something does not hold. The
same checks run under hypothesis in the tests, which also replay what was found before (tests/fuzz/regressions).
What must not live here: a check that mends or skips what it finds.
"""
