"""The program `agent` where the ports that it finds are the terminals in one folder.

A pseudo-terminal is no USB serial port, so the list of those never has one. The list is the only thing that is replaced here; run as
`python -m tests.agent_on_ptys run --config …` with the folder in PORTS_IN.
"""

from __future__ import annotations

import os
from pathlib import Path

from host_agent.link import port


def _found() -> list[str]:
    return sorted(str(path) for path in Path(os.environ["PORTS_IN"]).iterdir() if path.exists())


if __name__ == "__main__":
    port.list_candidates = _found
    from host_agent.cli import main  # only now: others take the name from there when they are imported

    main()
