"""The command line: `codecrig VERB`. Each verb is one module; what they share is in `common`."""

from codecrig.cli.main import main

__all__ = ["main"]
