"""What looks at the server from outside: a client over raw sockets, its own fold of the log, and fault scenarios.

Nothing here imports `server`: what these programs believe about the protocol they learned from the contract alone.
"""
