"""Move sessions between storages: what `scripts/migrate` does, through `server.storage.moving` only."""
