"""`python -m server`: settings from flags and environment; then this process serves, or watches over those that do."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from . import __version__
from .api.auth import check_bind
from .app import create_app
from .errors import ConfigError
from .serving import configure_logging, serve, work
from .settings import read_settings, settings_table
from .workers import check_workers, supervise


def main(argv: list[str] | None = None) -> None:
    """Run the server until it is told to stop."""
    try:
        settings = read_settings(os.environ, _arguments(argv))
        check_bind(settings)
        check_workers(settings)
        configure_logging(settings)
        if settings.workers == 1:
            serve(settings, create_app(settings))
        else:
            supervise(settings, work)
    except ConfigError as error:
        sys.exit(f"sessionstream: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _arguments(argv: list[str] | None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog="sessionstream",
        description="Streaming chat sessions over SSE. Every flag is also an environment variable: see README.",
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (8000); 0 takes a free one")
    parser.add_argument("--agents", metavar="FILE", help="agents.toml; without it the documents agent answers")
    parser.add_argument("--documents", metavar="DIR", help="folder that the documents agent answers from")
    parser.add_argument("--data", metavar="DIR", help="folder of the database (data)")
    parser.add_argument(
        "--redis-url", metavar="URL", help="several nodes share this Redis; with a password, set REDIS_URL"
    )
    parser.add_argument("--workers", metavar="N", help="processes on this port (1); more need a Redis")
    parser.add_argument("--no-docs", action="store_true", default=None, help="start without indexing documents")
    parser.add_argument("--allow-anyone", action="store_true", default=None, help="AUTH=local beyond loopback")
    parser.add_argument("--log-level", help="debug, info, warning or error")
    parser.add_argument("--print-settings", action="store_true", help="print the table of all settings and exit")
    parser.add_argument("--version", action="version", version=f"sessionstream {__version__}")
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("print_settings"):
        print(settings_table())  # noqa: T201 - asked for
        sys.exit(0)
    return arguments


if __name__ == "__main__":
    main()
