"""From a message to a durable row and a signed receipt.

What lives here: `verify` (bytes to verdict), `links` (a record's place in its chain), `intake` (one batch, one
transaction), `receipts` (position to signed words), `windows` (who is at a window), `core` (these in order), and the
two shells: `mqtt` (the broker connection) and `pipeline` (the thread between the connection and the core).

What must not: a clock, thread or socket outside the two shells. Time is an argument.
"""
