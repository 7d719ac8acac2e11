"""`python -m host_agent` is the command `agent`."""

from host_agent.cli import main

if __name__ == "__main__":
    main()
