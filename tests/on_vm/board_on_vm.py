# modules of the board and of MicroPython, which the checks of CPython do not know
# mypy: ignore-errors
"""Runs inside the MicroPython VM: the built tree as a board runs it, from boot.py on, with stand-ins for pins and flash.

Arguments: the root of the repository, the built tree, the identity file. Standard input and output are the USB line.
"""

import os
import sys

import vfs

root, built, identity = sys.argv[1:4]
with open(identity) as file:
    facts = file.read()
sys.path[:] = [built, root + "/tests/on_vm/fake_board", root + "/tests/on_vm", ".frozen"]
import boards.pico  # noqa: E402  # found by the line above
import rp2  # noqa: E402  # found by the line above

# a board has one file system, at "/"; here that is the computer's
vfs.VfsLfs2.mkfs(rp2.Flash(), progsize=256)
vfs.mount(vfs.VfsLfs2(rp2.Flash(), progsize=256), "/flash")
with open("/flash/identity.json", "w") as file:
    file.write(facts)
boards.pico.IDENTITY = "/flash/identity.json"
boards.pico.ROOT = "/flash/"
boards.pico.SECTORS = 8

for name in ("boot.py", "main.py"):
    with open(built + "/" + name) as file:
        exec(file.read())  # noqa: S102  # as a board does at power-on
sys.stdout.write("PROMPT " + str("error.txt" in os.listdir("/flash")) + "\n")
