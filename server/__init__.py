"""Sessionstream: streaming chat sessions over SSE. Importing this package does nothing."""

__version__ = "0.1.0"
