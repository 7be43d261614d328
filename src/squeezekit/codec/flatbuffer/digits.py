"""Names of tensors without their digits: the names of two layers mostly differ only in a number.

Every digit becomes a 0, and its value goes to a list of its own, as the difference (modulo ten) from the digit
that came last after the same four bytes. "conv7_2/Relu" after "conv7_1/Relu" then is a repetition and two digits.
"""

__all__ = ["join_digits", "split_digits"]

_CONTEXT_BYTES = 4
_ZERO = ord("0")


def split_digits(text: bytes) -> tuple[bytes, bytes]:
    """Take the digits out of a text: the text with every digit as 0, and one byte (0 to 9) for each digit.

    Example:
        >>> split_digits(b"conv7_1 conv7_2")
        (b'conv0_0 conv0_0', b'\\x07\\x01\\x00\\x01')
    """
    template = bytearray(text)
    digits = bytearray()
    last: dict[bytes, int] = {}
    for position, letter in enumerate(text):
        if _ZERO <= letter <= _ZERO + 9:
            context = bytes(template[max(0, position - _CONTEXT_BYTES) : position])
            digits.append((letter - last.get(context, _ZERO)) % 10)
            last[context] = letter
            template[position] = _ZERO
    return bytes(template), bytes(digits)


def join_digits(template: bytes, digits: bytes) -> bytes:
    """Undo `split_digits`; there must be a digit for every 0.

    Example:
        >>> join_digits(b"conv0_0 conv0_0", bytes([7, 1, 0, 1]))
        b'conv7_1 conv7_2'
    """
    text = bytearray(template)
    last: dict[bytes, int] = {}
    position = -1
    for digit in digits:
        position = template.index(_ZERO, position + 1)
        context = template[max(0, position - _CONTEXT_BYTES) : position]
        letter = _ZERO + (last.get(context, _ZERO) - _ZERO + digit) % 10
        last[context] = text[position] = letter
    return bytes(text)
