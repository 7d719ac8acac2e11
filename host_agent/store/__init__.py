"""What the agent must not forget, in one SQLite file: records until their receipt, devices, evaluations.

One connection writes, from one thread; every write is inside an explicit BEGIN IMMEDIATE and durable when it returns.
"""
