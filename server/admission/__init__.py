"""Whom and how much the server admits: hosts, keys, rates, slots."""
