"""The collection (归集): the far end of the pipe, where a rating counts.

What lives here: `ingest` (verify, store once, sign receipts), `store` (tables, migrations, queries), `pages` (the live page
and its API), configuration, command line, and `service`, the one place that wires them.

What must not: an import of the agent, the firmware or the simulator; anything that decides a level other than a verified
record; a receipt for what is not durably stored.
"""
