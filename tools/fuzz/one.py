"""One target under the coverage-guided fuzzer, in a process of its own: libFuzzer ends the process when it is done.

Called by tools/fuzz/__main__ with the target's name, perhaps a planted bug, then libFuzzer's own arguments.
"""

from __future__ import annotations

import logging
import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # Linux only, and without type information

_OURS = ["protocol", "firmware.evaluator", "host_agent", "collector", "tools.fuzz.planted"]


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    name, planted, *rest = arguments
    with atheris.instrument_imports(include=_OURS, enable_loader_override=False):
        from tools.fuzz.planted import PLANTED  # instrumented while it is imported
        from tools.fuzz.targets import target  # the same

        wanted = target(name)

    logging.disable(logging.CRITICAL)
    if planted != "-":
        PLANTED[planted][1]()
    check = wanted.make()
    atheris.Setup([sys.argv[0], *rest], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
