"""The verbs of the bare install, which run on a device too."""
