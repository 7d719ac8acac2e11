"""Write docs/api/openapi.json, the local API as vendors read it: `python -m tools.api_document [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from host_agent.agent import Agent
from host_agent.api.app import make_app
from host_agent.config import ApiConfig

FILE = Path(__file__).resolve().parent.parent / "docs" / "api" / "openapi.json"


def document() -> dict[str, Any]:
    """Return the document as an agent with default settings serves it."""
    return make_app(cast("Agent", None), "", ApiConfig()).openapi()  # nobody calls it, so no agent is needed


def text() -> str:
    """Return the file's content."""
    return json.dumps(document(), ensure_ascii=False, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file, or with `--check` say whether it is current."""
    if "--check" not in arguments:
        FILE.write_text(text(), encoding="utf-8", newline="\n")
        return 0
    if FILE.exists() and FILE.read_text(encoding="utf-8") == text():
        return 0
    print("docs/api/openapi.json 已过期，请运行 is stale; run: python -m tools.api_document")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
