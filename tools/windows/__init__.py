"""The agent for Windows: its program and its setup.exe, made on Windows or, with the same command, on Linux under wine.

`interpreter` makes a Windows Python that wine runs, `wine` is a Windows to run it in, `build` makes program and setup.exe from
it. Called by developers and by `tests/windows`; nothing of it is on a window PC.
"""
