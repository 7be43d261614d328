"""The command line: one thin file for each verb, which calls the Python API."""

from squeezekit.cli.main import cli, main

__all__ = ["cli", "main"]
