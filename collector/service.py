"""The one place that knows all parts of the collector, starts them and stops them.

Order of start: database, pages, broker; of stop: broker thread, pipeline, pages, database. A stop takes at most STOP_S, also
with open event streams. Everything that was acknowledged is durable at any moment, so being killed is no different from
being stopped. Called by cli.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from types import FrameType

import uvicorn

from collector.config import PORT_FILE, Config
from collector.errors import ConfigError
from collector.ingest.core import Ingest
from collector.ingest.counters import Counters
from collector.ingest.mqtt import Broker
from collector.ingest.pipeline import Pipeline
from collector.pages.app import make_app
from collector.pages.live import Live
from collector.store.database import open_store

log = logging.getLogger(__name__)

STOP_S = 3.0
POLL_S = 0.2


class Service:
    """A whole collector; `run` returns when `stop` has been called, from any thread or a signal."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = threading.Event()

    def run(self) -> None:
        """Start, print `ready http://…` once records can come and pages can be opened, and serve until stopped."""
        config = self._config
        hall_keys = config.hall_keys()
        if not hall_keys:
            raise ConfigError('没有配置大厅 no hall is configured: add [halls."AREA/HALL"] with its key_file')
        counters = Counters()
        broker = Broker(config.mqtt, counters)
        listener = _listen(config.http.host, config.http.port)
        try:
            database = open_store(config)
        except BaseException:
            listener.close()
            raise
        try:
            live = Live(database.reader, counters, broker.subscribed.is_set)
            ingest = Ingest(database.writer, hall_keys)
            pipeline = Pipeline(broker, ingest, counters, live.changed)
            server = _Server(listener, make_app(live, config.http))
            server.start()
            (config.data_dir / PORT_FILE).write_text(str(listener.getsockname()[1]), encoding="ascii")
            pipeline.start()
            broker.start()
            self._serve(broker, config.http.host, listener.getsockname()[1])
            live.close()
            broker.stop()
            pipeline.stop()
            server.stop()
        finally:
            listener.close()
            database.close()

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    def stop_on_signals(self) -> None:
        """End on SIGINT and SIGTERM; call on the main thread."""

        def stop(number: int, _frame: FrameType | None) -> None:
            log.info("stopping on signal %s", signal.Signals(number).name)
            self.stop()

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)

    def _serve(self, broker: Broker, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        ready = False
        # short waits: on Windows a signal does not end a wait
        while not self._stopping.wait(POLL_S if ready else 0.02):
            if not ready and broker.subscribed.is_set():
                ready = True
                print(f"ready http://{shown}:{port}", flush=True)  # noqa: T201  # the line that starters wait for


class _Server:
    """Uvicorn on a thread of its own, on a socket that is already bound."""

    def __init__(self, listener: socket.socket, app: object) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]  # any ASGI application
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="pages", daemon=True)

    def start(self) -> None:
        """Serve; return once connections are answered."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)

    def stop(self) -> None:
        """End open connections and the thread."""
        self._server.should_exit = True
        self._thread.join(STOP_S)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: SO_REUSEADDR would let another program share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"端口无法使用 cannot listen on {host}:{port}: {error}; 请改 [http] port / choose another [http] port"
        ) from error
    return listener
