"""The line to the device: the conversation and the search are pure, the port is the shell around them."""
