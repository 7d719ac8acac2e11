"""Every test that the threat model names exists, and every attack that is tested is in it."""

from __future__ import annotations

import re
from pathlib import Path

from collector.ingest.evidence import EvidenceKind
from tests.attacks import ATTACKS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(test_[a-z_]+)(?:\[([a-z_0-9]+)\])?`", PAGE))


def test_every_test_named_exists() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_[a-z_]+)\(", sources, re.MULTILINE))
    assert {name for name, _ in NAMED} <= defined
    assert {attack for name, attack in NAMED if name == "test_attack" and attack} == set(ATTACKS)


def test_every_attack_and_every_kind_of_evidence_is_in_it() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "e2e").glob("test_attacks*.py"))
    assert set(re.findall(r"^def (test_attack_[a-z_]+)\(", sources, re.MULTILINE)) <= {name for name, _ in NAMED}
    for kind in EvidenceKind:
        assert kind is EvidenceKind.UNSUPPORTED or f"`{kind.value}`" in PAGE
