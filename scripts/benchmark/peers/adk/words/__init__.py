"""The agent for google-adk: found by its `api_server` under this folder's name."""

from . import agent

__all__ = ["agent"]
