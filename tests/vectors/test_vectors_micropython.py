"""The generated device codec against the golden vectors, inside the real MicroPython VM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.generate import schema
from protocol.record import Record

pytestmark = pytest.mark.micropython

ROOT = Path(__file__).resolve().parents[2]


def test_the_device_codec_passes_the_vectors_on_the_vm(micropython: str, tmp_path: Path) -> None:
    vectors = json.loads((ROOT / "protocol" / "golden_vectors.json").read_text(encoding="utf-8"))
    # MicroPython's dictionaries keep no order, so the order of fields goes along
    layouts = [*schema.messages(), Record]
    vectors["field_order"] = {layout.__name__: [[f.name, f.is_text] for f in schema.fields_of(layout)] for layout in layouts}
    vectors["limits"] = [vectors["limits"][name] for name in ("payload", "body", "encoded")]
    given = tmp_path / "vectors.json"
    given.write_text(json.dumps(vectors), encoding="utf-8")
    script = Path(__file__).with_name("wire_on_vm.py")
    run = subprocess.run(
        [micropython, str(script), str(ROOT), str(given)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    *different, last = run.stdout.splitlines()
    assert different == []
    word, checked = last.split()
    assert word == "CHECKED"
    assert int(checked) > 100


def test_the_vm_is_the_one_beside_this_python(micropython: str) -> None:
    assert Path(micropython).parent == Path(sys.executable).parent
