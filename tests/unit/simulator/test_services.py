"""Child processes of the demo: a start that fails says why, a stop leaves nothing behind."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import psutil
import pytest

from simulator.services import Service, ServiceFailed, free_port


def child(folder: Path, program: str) -> Service:
    service = Service("child", [sys.executable, "-c", program], folder)
    service.start()
    return service


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port


def test_ready_url_is_what_the_child_prints(tmp_path: Path) -> None:
    service = child(tmp_path, "import time; print('ready http://127.0.0.1:9', flush=True); time.sleep(60)")
    assert service.ready_url() == "http://127.0.0.1:9"
    pid = service.pid
    service.stop()
    assert not psutil.pid_exists(pid)


def test_a_child_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    service = child(tmp_path, "import sys; sys.exit('the disk is on fire')")
    with pytest.raises(ServiceFailed, match=r"(?s)child 未能启动.*the disk is on fire"):
        service.ready_url()


def test_a_port_that_never_answers_is_named(tmp_path: Path) -> None:
    service = child(tmp_path, "raise SystemExit('no licence')")
    with pytest.raises(ServiceFailed, match="no licence"):
        service.wait_for_port(free_port())


def test_a_child_that_ignores_the_request_to_stop_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.services.STOP_S", 0.2)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready x', flush=True); time.sleep(60)"
    service = child(tmp_path, program)
    service.ready_url()
    pid = service.pid
    service.stop()
    assert not psutil.pid_exists(pid)
