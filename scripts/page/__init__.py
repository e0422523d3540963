"""Pictures of the page, taken from a real server in a real browser."""
