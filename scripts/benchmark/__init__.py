"""What the server costs, as ratios measured side by side: ours, raw ASGI and what people write by hand.

Scenarios import `server` only to fill its storage and to count what it does in this process; what is timed is timed
from outside, by a reader written in C.
"""
