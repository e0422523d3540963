"""Sessions, their logs and runs: no HTTP, no adapter."""
