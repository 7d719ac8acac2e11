"""Tells PyInstaller that of pygments' 500 languages the agent speaks none: rich wants the package, not the lexers."""

from __future__ import annotations

hiddenimports: list[str] = ["pygments.lexers.special", "pygments.lexers.python"]
