"""What a network expects of an image: one definition, stored in the file, for training and runtime."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

__all__ = ["Fit", "Preprocess"]

# A file with a larger side is damaged: no network for a Pi is that large.
MAX_SIDE = 4096


class Fit(enum.Enum):
    """How a picture of any shape becomes `resize_height` x `resize_width`."""

    SQUASH = "squash"
    """Resize each side by itself: the aspect ratio changes, and nothing is cut off."""

    COVER = "cover"
    """Keep the aspect ratio, resize until the picture covers the size, and cut off the excess."""


@dataclasses.dataclass(frozen=True, slots=True)
class Preprocess:
    """From a picture to the network's input: resize, then crop the centre. Pixels stay uint8 RGB in [0, 255].

    Scaling and mean subtraction are layers of the network: a program that runs the file need not know them.

    Args:
        height: rows of the network's input, in pixels, in [1, 4096].
        width: columns of the network's input, in pixels, in [1, 4096].
        resize_height: rows after the resize and before the centre crop; at least `height`. 0 means `height`.
        resize_width: columns likewise; at least `width`. 0 means `width`.
        fit: how the picture becomes the resize size.

    Raises:
        ValueError: a side is out of range, or the crop is larger than the resized picture.

    Example:
        >>> Preprocess(96, 96, 110, 110).crop_offset
        (7, 7)
    """

    height: int
    width: int
    resize_height: int = 0
    resize_width: int = 0
    fit: Fit = Fit.SQUASH

    def __post_init__(self) -> None:
        # The class is frozen: fill in the defaults that depend on other fields here.
        object.__setattr__(self, "resize_height", self.resize_height or self.height)
        object.__setattr__(self, "resize_width", self.resize_width or self.width)
        object.__setattr__(self, "fit", Fit(self.fit))
        for name in ("height", "width", "resize_height", "resize_width"):
            side = getattr(self, name)
            if type(side) is not int or not 1 <= side <= MAX_SIDE:
                raise ValueError(
                    f"Expected a side in pixels, an integer in [1, {MAX_SIDE}]. Received: {name}={side!r}."
                )
        if self.resize_height < self.height or self.resize_width < self.width:
            raise ValueError(
                f"Expected a resize of at least the input's {self.height}x{self.width}. "
                f"Received: {self.resize_height}x{self.resize_width}."
            )

    @property
    def crop_offset(self) -> tuple[int, int]:
        """Row and column, in pixels, at which the centre crop begins in the resized picture."""
        return (self.resize_height - self.height) // 2, (self.resize_width - self.width) // 2

    def source_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a `height` x `width` picture that is resized: top, left, rows, columns, in whole pixels.

        The cover fit cuts off the excess *before* the resize, in whole pixels, so that every
        implementation resizes exactly the same pixels.
        """
        if self.fit is Fit.SQUASH:
            return 0, 0, height, width
        # The largest box of the target's aspect ratio; integers only, so every platform agrees.
        rows = min(height, max(1, (width * self.resize_height + self.resize_width // 2) // self.resize_width))
        columns = min(
            width, max(1, (height * self.resize_width + self.resize_height // 2) // self.resize_height)
        )
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return {**dataclasses.asdict(self), "fit": self.fit.value}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocess":
        """Build from the result of `to_dict`.

        Raises:
            ValueError: a field is missing, unknown or out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != known:
            raise ValueError(f"Expected the fields {sorted(known)}. Received: {sorted(fields)}.")
        return cls(**fields)
