"""Running the agent as a service of the operating system: installing it, and telling its manager how it is."""
