"""A business system as small as it can be: the page of a clerk that asks the agent for evaluations, from an origin of its own."""
