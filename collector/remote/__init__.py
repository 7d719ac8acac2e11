"""Asking a window's agent from afar: one short connection (asking), who asked what (ledger), what it answered (show).

What must not: the collector's own connection or database. Asking is a person's command, beside the collector and without it.
"""
