"""Writes everything that is derived from the contract: `python -m protocol.generate`.

What lives here: one module for each generated file (device codec, protocol page, golden vectors, Wireshark dissector), and
`schema`, which walks the construct definitions for all of them. Each module turns definitions into text and does no I/O;
`__main__` alone reads and writes files. Generated files are committed; a test compares them with what this tree would write.

What must not: a fact about the protocol that is not taken from the definitions, except for the prose of the page.
"""
