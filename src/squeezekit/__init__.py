"""Squeezekit: a folder of images becomes a classifier of tens of kilobytes.

Import the room that you need: `squeezekit.runtime` and `squeezekit.codec` come with the bare
install; `squeezekit.models`, `compress`, `training` and `export` need `squeezekit[train]`.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
