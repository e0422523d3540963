"""The terminal client: a person's window on a session, over HTTP alone. `scripts/chat` starts it.

    __main__ → chat, pipe → screen, commands, follower, outbox → view, paint → blocks, pieces, api

Pure is what decides: `view` folds events and says what is to be shown, `blocks` tells which parts of a growing text are
complete, `paint` draws. `screen` owns the terminal, `follower` and `outbox` the network; `chat` joins them.
"""
