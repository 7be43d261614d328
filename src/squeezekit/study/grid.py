"""Which combinations a study compares: factors, their levels, and the trained stages that all of them need."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from squeezekit import codec, compress

__all__ = ["FACTORS", "REFERENCE", "Grid", "grid_of"]

REFERENCE = {"fire": "standard", "prune": "", "share": "", "quantize": "", "coder": "none"}
"""The level of each factor that means "off", in the order in which techniques come in a recipe."""

FACTORS = tuple(REFERENCE)

_FIRES = ("standard", "separable")
_CODERS = ("none", "huffman", "rans", "small")
_RECIPE = ("prune", "share", "quantize")
# What a factor that is not studied is left at. Nobody ships uncoded files, so not the coder's reference.
_UNSTUDIED = {**REFERENCE, "coder": "small"}


@dataclasses.dataclass(frozen=True)
class Grid:
    """Every factor's levels; a study has a row for each combination of them.

    Args:
        fire: "standard", "separable" or both.
        prune: techniques as in a recipe line, and "" for none; a level is kept in its canonical form.
        share: the same.
        quantize: the same. Without it the file that ships is a float one, with it a full-integer one.
        coder: of "none", "huffman", "rans" and "small".

    Raises:
        ValueError: a factor without levels, a level twice, or one that the factor cannot have.

    Example:
        >>> grid = Grid()
        >>> len(grid.combinations()), len(grid.recipes())
        (64, 7)
        >>> grid.recipes()[-2:]
        ('share(bits=5)', 'share(bits=5) | quantize(bits=8)')
    """

    fire: tuple[str, ...] = _FIRES
    prune: tuple[str, ...] = ("", "prune(0.8, scope='lamp')")
    share: tuple[str, ...] = ("", "share(bits=5)")
    quantize: tuple[str, ...] = ("", "quantize(bits=8)")
    coder: tuple[str, ...] = _CODERS

    def __post_init__(self) -> None:
        for factor in FACTORS:
            levels = tuple(
                _canonical(factor, level) if factor in _RECIPE else level for level in getattr(self, factor)
            )
            if not levels or len(set(levels)) < len(levels):
                raise ValueError(f"Expected levels of {factor}, each once. Received: {levels}.")
            object.__setattr__(self, factor, levels)
        for factor, known in (("fire", _FIRES), ("coder", _CODERS)):
            strange = [level for level in getattr(self, factor) if level not in known]
            if strange:
                raise ValueError(
                    f"Expected levels of {factor} among {', '.join(known)}. Received: {strange[0]!r}."
                )

    def levels(self) -> dict[str, list[str]]:
        """Levels by factor, for JSON."""
        return {factor: list(getattr(self, factor)) for factor in FACTORS}

    def combinations(self) -> list[dict[str, str]]:
        """One level of each factor, in every combination; the last factor changes fastest."""
        columns = [getattr(self, factor) for factor in FACTORS]
        return [dict(zip(FACTORS, levels, strict=True)) for levels in itertools.product(*columns)]

    def recipes(self) -> tuple[str, ...]:
        """The recipe lines that have to be trained for one network, each after the one that it continues."""
        prefixes = set()
        for choice in itertools.product(*(getattr(self, factor) for factor in _RECIPE)):
            techniques = tuple(technique for technique in choice if technique)
            prefixes |= {techniques[:count] for count in range(1, len(techniques) + 1)}
        return tuple(" | ".join(prefix) for prefix in sorted(prefixes))

    @staticmethod
    def recipe(factors: dict[str, str]) -> str:
        """The recipe line of a combination; "" when nothing in it is trained.

        Example:
            >>> Grid.recipe({"fire": "standard", "prune": "prune(0.8)", "share": "", "quantize": "quantize(bits=8)"})
            'prune(0.8) | quantize(bits=8)'
        """
        return " | ".join(factors[factor] for factor in _RECIPE if factors[factor])


def grid_of(techniques: Iterable[str] = FACTORS, levels: Sequence[str] = ()) -> Grid:
    """The grid of some factors, the others left alone: standard fire modules, no technique, the coder "small".

    Args:
        techniques: factors to study, of `FACTORS`.
        levels: in place of a factor's usual levels: techniques as in a recipe line, `"separable"`, or the names of
            coders. Of a technique "off" is always a level too, and of fire modules "standard".

    Raises:
        ValueError: an unknown factor, or a level of none that is studied.

    Example:
        >>> grid = grid_of(["prune", "coder"], ["prune(0.8)", "prune(0.9)", "none", "rans"])
        >>> grid.prune, grid.share, grid.coder
        (('', 'prune(0.8)', 'prune(0.9)'), ('',), ('none', 'rans'))
    """
    studied = list(techniques)
    strange = [factor for factor in studied if factor not in FACTORS]
    if strange or not studied:
        raise ValueError(
            f"Expected techniques among {', '.join(FACTORS)}. Received: {strange[0] if strange else ''!r}."
        )
    named: dict[str, list[str]] = {}
    for level in levels:
        factor = _factor_of(level)
        if factor not in studied:
            raise ValueError(
                f"Expected levels of {', '.join(studied)} only. Received: {level!r} of {factor}."
            )
        named.setdefault(factor, []).append(level)
    chosen = {}
    for factor in FACTORS:
        if factor not in studied:
            chosen[factor] = (_UNSTUDIED[factor],)
        elif factor in named:
            off = () if factor == "coder" else (REFERENCE[factor],)
            chosen[factor] = (*off, *(level for level in named[factor] if level not in off))
        else:
            chosen[factor] = getattr(Grid(), factor)
    return Grid(**chosen)


def _factor_of(level: str) -> str:
    """The factor that a level belongs to."""
    if level in _FIRES:
        return "fire"
    if level in codec.CODERS:
        return "coder"
    recipe = compress.parse(level)
    if len(recipe) != 1 or recipe[0].name not in _RECIPE:
        raise ValueError(
            "Expected a level like 'prune(0.9)', 'share(4)', 'quantize(8)', 'separable' or a coder. "
            f"Received: {level!r}."
        )
    return recipe[0].name


def _canonical(factor: str, level: str) -> str:
    """A technique as `str` of a recipe has it, so that a level has one name."""
    if not level:
        return ""
    recipe = compress.parse(level)
    if len(recipe) != 1 or recipe[0].name != factor:
        raise ValueError(f"Expected levels of {factor} like '{factor}(...)'. Received: {level!r}.")
    return str(recipe)
