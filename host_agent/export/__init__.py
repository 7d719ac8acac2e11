"""What this window's database holds, for the IT department or an auditor: `rows` reads it, `formats` writes it.

Never a level: the window PC shows none (docs/threat-model.md). The signed bytes of a record hold it, so they are not exported either.
Called by the command `agent export`.
"""
