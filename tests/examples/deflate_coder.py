"""How to add a coder: deflate's Huffman codes, in one class and two lines.

Do not use it: `rans` makes smaller files and decodes faster.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy.coders import HistogramCoder, Job
from squeezekit.errors import FormatError


class Deflate(HistogramCoder):
    """Symbols as bytes through zlib, without its search for repetitions: the histogram then decides the size."""

    # The first byte of every stream of this coder. It is part of the file format: docs/format.md lists all tags.
    tag = 200
    name = decode_with = "deflate"

    def size_bytes(self, histogram: np.ndarray) -> int:
        """Code the symbols in order of size: other orders take about as many bytes."""
        symbols = np.repeat(np.arange(len(histogram)), histogram)
        return len(self.encode(symbols, histogram))

    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        """Code at least one symbol."""
        made = zlib.compressobj(9, wbits=-15, strategy=zlib.Z_HUFFMAN_ONLY)
        return made.compress(symbols.astype(self._dtype(len(histogram))).tobytes()) + made.flush()

    def decode(self, jobs: Sequence[Job], around_bytes: int) -> list[np.ndarray]:
        """Decode each stream by itself; never make more bytes than its symbols take."""
        return [self._decode(job) for job in jobs]

    def code_bytes(self, job: Job) -> int:
        """A stream of this coder has no table of ours."""
        return len(job.payload)

    def _decode(self, job: Job) -> np.ndarray:
        dtype, reader = self._dtype(job.alphabet), zlib.decompressobj(wbits=-15)
        wanted = job.count * dtype.itemsize
        try:
            # One byte more than wanted, so that a stream that goes on is noticed.
            data = reader.decompress(bytes(job.payload), wanted + 1)
        except zlib.error as error:
            raise FormatError(f"a damaged deflate stream ({error})") from error
        if len(data) != wanted or not reader.eof or reader.unused_data:
            raise FormatError("a deflate stream of the wrong length")
        symbols = np.frombuffer(data, dtype)
        if int(symbols.max()) >= job.alphabet:
            raise FormatError("a symbol that cannot occur")
        return symbols

    @staticmethod
    def _dtype(alphabet: int) -> np.dtype:
        return np.dtype(np.uint8 if alphabet <= 256 else "<u2")


CODER = Deflate()
