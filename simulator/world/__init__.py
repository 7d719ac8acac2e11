"""The deterministic world: real device, agent and collector in one process, in virtual time, under faults drawn from a seed.

What lives here: the scheduler, models of what lies between the programs (line, broker), the rough hands that break things,
and the oracle that saw every thanks. What must not: a thread, a real clock, randomness that does not come from the seed, or
a copy of anything that the programs do themselves.
"""
