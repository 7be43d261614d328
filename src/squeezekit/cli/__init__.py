"""The command line: one thin file a verb, a skin on the Python API."""

from squeezekit.cli.main import cli, main

__all__ = ["cli", "main"]
