"""The demo: a whole hall on one machine, with one window, started by one command."""
