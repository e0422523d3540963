"""MCP servers: their tools for agents and for `POST /api/mcp-command`.

    config ──▶ servers ──▶ server (supervisor) ──▶ link (the protocol's client) ──▶ stdio | http
                  └──▶ tools (what agents are offered) ──▶ command (one call as a run)

Nothing here but `config` is imported before a server is configured: the protocol's client is an extra.
"""
