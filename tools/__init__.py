"""What technicians and developers run once: build, check, measure. Nothing imports from here."""
