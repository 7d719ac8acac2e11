"""The command line of the fuzzers: each target in a process of its own, one after the other, and what was found at the end."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.fuzz.planted import PLANTED
from tools.fuzz.target import Target
from tools.fuzz.targets import MODULES, target

LONGEST_INPUT_BYTES = 8192
_EXECUTIONS = re.compile(r"number_of_executed_units:\s*(\d+)")
_COVERAGE = re.compile(r"cov: (\d+)")
_FOUND = re.compile(r"Test unit written to (\S+)")
_GRACE_S = 120


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target."""

    target: str
    executions: int
    coverage: int
    findings: list[Path]
    failed: bool
    output: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what was named, or everything; return 1 when something was found."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fuzz", description="Fuzz what takes bytes from outside, guided by coverage."
    )
    parser.add_argument("targets", nargs="*", metavar="target", help=f"{', '.join(MODULES)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target (default 60)")
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", help="keep and reuse what covers more, by target; forgotten by default"
    )
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), metavar="DIR", help="where inputs that break go"
    )
    parser.add_argument("--plant", choices=sorted(PLANTED), help="put a bug in first, to see that it is found")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the fuzzer's own choices; 0 draws one")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in MODULES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there is {', '.join(MODULES)}")
    if importlib.util.find_spec("atheris") is None:
        parser.error('atheris is not installed: python -m pip install ".[dev]" (Linux, CPython)')
    outcomes = [_run(target(name), options) for name in options.targets or MODULES]
    for outcome in outcomes:
        verdict = f"{len(outcome.findings)} found" if outcome.findings else "FAILED" if outcome.failed else "nothing found"
        print(f"{outcome.target:14}{outcome.executions:>12,} executions {outcome.coverage:>6} edges  {verdict}")
        for finding in outcome.findings:
            print(f"  {finding}  {finding.read_bytes()[:64].hex()}")
        if outcome.failed:
            print(outcome.output[-3000:])
    return 1 if any(outcome.failed or outcome.findings for outcome in outcomes) else 0


def _run(wanted: Target, options: argparse.Namespace) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        corpus = Path(options.corpus or scratch) / wanted.name
        seeds, findings = Path(scratch) / "seeds", options.findings / wanted.name
        for folder in (corpus, seeds, findings):
            folder.mkdir(parents=True, exist_ok=True)
        for seed in wanted.seeds():
            (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        command = [
            sys.executable, "-m", "tools.fuzz.one", wanted.name, options.plant or "-", f"-max_total_time={options.seconds}",
            f"-seed={options.seed}", f"-max_len={LONGEST_INPUT_BYTES}", "-print_final_stats=1", "-timeout=20", "-rss_limit_mb=2048",
            f"-artifact_prefix={findings}/", str(corpus), str(seeds),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, check=False, timeout=options.seconds + _GRACE_S)
        output = (done.stdout + done.stderr).decode("utf-8", "replace")
        executed, covered = _EXECUTIONS.search(output), _COVERAGE.findall(output)
        return Outcome(
            wanted.name,
            int(executed[1]) if executed else 0,
            int(covered[-1]) if covered else 0,
            [Path(name) for name in _FOUND.findall(output)],
            done.returncode != 0 or executed is None,
            output,
        )


if __name__ == "__main__":
    sys.exit(main())
