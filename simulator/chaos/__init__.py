"""Chaos: a hall of real processes in real time, broken on purpose, and the books compared.

Real MicroPython devices on pseudo-terminals, real agents, a real broker, a real collector and its database. What lives here: the hall
and its proxy, the faults and the plan of a seed, citizens, the oracle, and the table. Linux only: it stops processes with signals.
What must not: a test's business (tests import this, never the other way).
"""
