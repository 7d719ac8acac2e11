"""The developer's device and world: the real firmware without the hardware.

Lives here: simulated flash and lines, the device on the MicroPython VM and in process, the demo. May import every other room;
no other room imports it.
"""
