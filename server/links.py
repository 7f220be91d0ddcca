"""Addresses of this server as its clients know it, also below a path of a proxy's."""

from flask import request


def here(path: str) -> str:
    """Return where a path of this server's is found: below the prefix of a proxy, if it has one."""
    return f"{request.script_root}{path}"
