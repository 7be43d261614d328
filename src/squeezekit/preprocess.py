"""What a network expects of an image: one definition, carried in the `.sqz`, obeyed by data and runtime alike."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

__all__ = ["Fit", "Preprocess"]

# A side beyond this is a lie in a file, not a network that anyone runs on a Pi.
MAX_SIDE = 4096


class Fit(enum.Enum):
    """How a picture of any shape is brought to `resize_height` x `resize_width`."""

    SQUASH = "squash"
    """Resize both sides on their own; the aspect ratio changes, nothing is cut away."""

    COVER = "cover"
    """Resize with the aspect ratio kept so that the picture just covers the size; the excess is cut away."""


@dataclasses.dataclass(frozen=True, slots=True)
class Preprocess:
    """From a picture to the network's input: resize, then cut the centre. Pixels stay uint8 RGB in [0, 255].

    Scaling and mean subtraction are inside the network, so that whoever runs the file needs none of it.

    Args:
        height: rows of the network's input, in pixels, in [1, 4096].
        width: columns of the network's input, in pixels, in [1, 4096].
        resize_height: rows after the resize and before the centre crop; at least `height`. 0 means `height`.
        resize_width: columns likewise; at least `width`. 0 means `width`.
        fit: how the picture is brought to the resize size.

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
        # Frozen, so the defaults that depend on other fields are filled in once, here.
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
        """Which part of a `height` x `width` picture is resized: top, left, rows, columns, in whole pixels.

        The cover fit cuts the excess away *before* the resize, in whole pixels, so that every
        implementation of it resizes exactly the same pixels.
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
        """Build from what `to_dict` gave.

        Raises:
            ValueError: a field is missing, unknown or out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != known:
            raise ValueError(f"Expected the fields {sorted(known)}. Received: {sorted(fields)}.")
        return cls(**fields)
