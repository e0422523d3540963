"""Several nodes at one Redis, looked at from outside: real processes, cut cables, killed servers, lost messages."""
