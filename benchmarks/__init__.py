"""Measurements, each runnable alone, with the settings the commands themselves run under."""

from indexer.machine import limit_spinning

limit_spinning()
