"""Reports as one HTML file each, that needs nothing else: the templates beside this module, filled in."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

from host_agent import AGENT_VERSION

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(path: Path, template: str, **values: object) -> None:
    """Fill in a template and write the page; everything that is filled in is escaped."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(default=True), trim_blocks=True)
    page = environment.get_template(template).render(version=AGENT_VERSION, **values)
    path.write_text(page, encoding="utf-8")
