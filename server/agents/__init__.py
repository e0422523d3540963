"""What can answer a turn: adapters of the agent port."""
