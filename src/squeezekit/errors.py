"""The two kinds of failure that squeezekit tells apart from a caller's own `ValueError`."""

__all__ = ["DataError", "FormatError"]


class FormatError(Exception):
    """A file is not what it claims to be: wrong magic, failed checksum, cut short, or it lies about a size.

    Nothing read from such a file can be trusted; fetch or build it again.
    """


class DataError(Exception):
    """A set of images cannot serve: no such folder, an empty class, one class only, too many broken files."""
