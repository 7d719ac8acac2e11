"""What can stop the collector, each with a sentence for the person who has to act.

Bad messages are not errors: they are evidence (see ingest/evidence) and never stop anything.
"""

from __future__ import annotations


class CollectorError(Exception):
    """Base; the text says what happened and the one thing to do next, in Chinese and English."""


class ConfigError(CollectorError):
    """The configuration or a key file cannot be used as it stands."""


class StoreError(CollectorError):
    """The database cannot be opened, migrated or is held by another collector."""


class NotRunningError(CollectorError):
    """No collector answers at the configured address."""


class AskError(CollectorError):
    """A window's agent cannot be asked, does not answer, or refuses."""
