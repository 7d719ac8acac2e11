"""What a board consists of, simulated: flash that behaves like NOR, lines that can be unplugged."""
