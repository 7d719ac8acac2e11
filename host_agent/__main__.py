"""`python -m host_agent …` is the command `agent`; the service manager of Windows starts it with a word of its own."""

from __future__ import annotations

import sys

from host_agent.service.windows_names import HOST_COMMAND

if sys.platform == "win32" and sys.argv[1:2] == [HOST_COMMAND]:
    from host_agent.service.windows_host import main  # and nothing else before it has answered
else:
    from host_agent.cli import main

if __name__ == "__main__":
    main()
