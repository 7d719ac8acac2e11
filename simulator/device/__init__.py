"""One simulated device: the real firmware on the MicroPython VM or in process, and the line that it hangs on."""
