"""Near duplicates: a 63-bit perceptual hash, a search for near hashes, and the correlation that confirms a pair.

The hash keeps, for the 63 lowest frequencies of the cosine transform of a 32 x 32 grey picture, whether each
is above their median (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
section 3.2.1). Saving again, resizing and mild changes of light change few bits; cropped, rotated and mirrored
copies are not found. Different images can share a hash (skies, seas), so the `correlation` of their pixels decides.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from PIL import Image

__all__ = ["SIDE", "correlation", "join", "near_pairs", "picture_hash", "small"]

Item = TypeVar("Item", bound=Hashable)

# Side in pixels of the grey picture that is hashed, and of the coloured ones that are compared.
SIDE = 32
# Frequencies a side that enter the hash.
_FREQUENCIES = 8
# A picture whose grey levels span less than this has no structure to hash.
_LEAST_SPAN = 4
# Two hashes that differ in at most 7 of 64 bits agree in at least one of 8 bytes.
_BYTES = 8
_MAX_DISTANCE = _BYTES - 1
# Pairs compared at once: 8 bytes each, so that the arrays stay in the processor's cache.
_CHUNK = 1 << 16

# Rows of the orthogonal DCT-II: (frequencies, SIDE).
_COSINES = np.cos(
    np.pi / SIDE * (np.arange(SIDE) + 0.5)[np.newaxis, :] * np.arange(_FREQUENCIES)[:, np.newaxis]
)
_POPULATION = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def picture_hash(grey: np.ndarray) -> int | None:
    """Hash the coarse structure of a grey image, uint8 (32, 32), to 63 bits; None for an image of one colour.

    Example:
        >>> ramp = np.tile(np.arange(32, dtype=np.uint8) * 4, (32, 1))
        >>> picture_hash(ramp) == picture_hash(ramp + 9), picture_hash(np.zeros((32, 32), np.uint8))
        (True, None)
    """
    if int(grey.max()) - int(grey.min()) < _LEAST_SPAN:
        return None
    # (8, 32) @ (32, 32) @ (32, 8). Rounded, so that what is zero but for the last bits is zero on every machine.
    spectrum = np.round(_COSINES @ grey.astype(np.float64) @ _COSINES.T, 3).ravel()[1:]
    bits = spectrum > np.median(spectrum)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: np.ndarray, distance: int = _MAX_DISTANCE) -> np.ndarray:
    """Find the pairs of hashes that differ in at most `distance` of 64 bits, without comparing each with each.

    When at most 7 bits differ at least one of 8 bytes agrees, so only hashes that share a byte are compared: one pair
    in 32 of evenly spread hashes. Of equal hashes only the first is compared with others; the rest are paired with it
    and with one another in a chain.

    Args:
        hashes: uint64, shape (images,).
        distance: in [0, 7].

    Returns:
        int64, shape (pairs, 2): places in `hashes`, the lower one first, in ascending order.

    Example:
        >>> near_pairs(np.array([0b1111, 1 << 40, 0b1101], np.uint64), distance=1).tolist()
        [[0, 2]]
    """
    if not 0 <= distance <= _MAX_DISTANCE:
        raise ValueError(f"Expected a distance in [0, {_MAX_DISTANCE}]. Received: {distance=}.")
    hashes = np.asarray(hashes, np.uint64)
    values, first, places = np.unique(hashes, return_index=True, return_inverse=True)
    found = [np.empty((0, 2), np.int64)]
    for byte in range(_BYTES):
        key = ((values >> np.uint64(8 * byte)) & np.uint64(255)).astype(np.uint8)
        order = np.argsort(key, kind="stable")
        edges = np.flatnonzero(np.diff(key[order])) + 1
        for bucket in np.split(order, edges):
            found.extend(first[pairs] for pairs in _near_within(values, bucket, distance))
    order = np.argsort(places, kind="stable")
    equal = np.flatnonzero(np.diff(places[order]) == 0)
    found.append(np.stack([order[equal], order[equal + 1]], axis=-1))
    found.append(np.stack([first[places[order[equal + 1]]], order[equal + 1]], axis=-1))
    return np.unique(np.sort(np.concatenate(found), axis=-1), axis=0)


def _near_within(values: np.ndarray, bucket: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """Pairs within one bucket, a few rows of its triangle at a time."""
    members = values[bucket]
    rows = max(1, _CHUNK // max(1, len(bucket)))
    for start in range(0, len(bucket) - 1, rows):
        differ = members[start : start + rows, np.newaxis] ^ members[np.newaxis, start:]  # (rows, rest)
        words = differ.view(np.uint16).reshape(*differ.shape, 4)
        near = _POPULATION[words].sum(axis=-1, dtype=np.uint8) <= distance
        row, column = np.nonzero(np.triu(near, k=1))
        if len(row):
            yield np.stack([bucket[start + row], bucket[start + column]], axis=-1)


def small(image: Image.Image) -> np.ndarray:
    """What `correlation` compares: uint8 RGB, shape (32, 32, 3)."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two pictures' pixels, in [-1, 1]; 0 where one has a single colour.

    Example:
        >>> picture = np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)
        >>> round(correlation(picture, picture), 6)
        1.0
    """
    one, other = (pixels.astype(np.float64).ravel() for pixels in (first, second))
    one, other = one - one.mean(), other - other.mean()
    scale = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / scale) if scale else 0.0


def join(pairs: Iterable[tuple[Item, Item]], alike: Callable[[Item, Item], Any]) -> list[list[Item]]:
    """Gather items into groups of at least two: a chain of pairs that are `alike` links the items of a group.

    Example:
        >>> join([("a", "b"), ("c", "d"), ("b", "e"), ("d", "x")], lambda one, other: other != "x")
        [['a', 'b', 'e'], ['c', 'd']]
    """
    groups: dict[Item, list[Item]] = {}
    for one, other in pairs:
        left, right = groups.get(one), groups.get(other)
        if (left is not None and left is right) or not alike(one, other):
            continue
        left = groups.setdefault(one, [one])
        right = groups.setdefault(other, [other])
        if len(left) < len(right):
            left, right = right, left
        left += right
        groups.update(dict.fromkeys(right, left))
    return list({id(group): group for group in groups.values()}.values())
