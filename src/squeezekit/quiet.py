"""Silence for the notes that C++ libraries write to standard error and no setting stops."""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

__all__ = ["quiet_native"]

# What C++ libraries log that no user can act on; warnings and errors of substance look otherwise.
_NATIVE_NOTE = re.compile(rb"INFO: |I\d{4} |I0000 |WARNING: All log messages before absl::InitializeLog")


@contextlib.contextmanager
def quiet_native(dropped: re.Pattern[bytes] = _NATIVE_NOTE) -> Iterator[IO[bytes]]:
    """Drop the notes of LiteRT on opening a network and of TensorFlow on being imported; no setting stops them.

    They are written to the process's file descriptor 2 from C++ ("INFO: Created ... delegate", "I0000 ...
    oneDNN custom operations are on"). Whatever else is written there meanwhile is kept and passed on.

    Args:
        dropped: matches the lines to drop.

    Yields:
        The file that holds what was written so far.
    """
    try:
        stderr = os.dup(2)
    except OSError:
        # Closed by whoever started us: nothing to keep quiet.
        yield io.BytesIO()
        return
    with tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        os.dup2(caught.fileno(), 2)
        try:
            yield caught
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            for line in caught:
                if not dropped.match(line):
                    os.write(2, line)
