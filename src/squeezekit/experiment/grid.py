"""The lines of an experiment: one a file to make, and the factors that tell them apart."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from squeezekit import codec, compress, models

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_RECIPE",
    "UNPACKED",
    "Line",
    "factor_names",
    "factors_of",
    "grid",
    "recipe_lines",
    "reference_level",
    "squeeze_lines",
]

DEFAULT_MODEL = "squeezenet-1.1-bypass"
# At 80 % zeros 87.6 % of Intel's validation images are right with one LAMP threshold for all layers and 86.8 % with one
# threshold a layer; one for all magnitudes does as well there, but empties layers of networks trained for few steps.
DEFAULT_RECIPE = "prune(0.8, scope='lamp') | share(bits=5) | quantize(8)"

UNPACKED = "tflite"
"""In place of a coder: the file that ships is the `.tflite` itself."""

# What a study varies when nothing is said. Any other technique joins when it is named.
_USUAL = ("network", "prune", "share", "quantize", "coder")
_NO_CODER = "none"
# Nobody ships uncoded files, so a coder that is not studied is the one that one would ship with.
_UNSTUDIED_CODER = "small"
# The first version's names of a factor and its levels, which stand in commands that its studies recorded.
_OLD_FACTOR, _STANDARD, _SEPARABLE = "fire", "standard", "separable"


@dataclasses.dataclass(frozen=True)
class Line:
    """One file to make.

    Args:
        network: a name of `models.MODELS`, or whatever the experiment's given network is called.
        recipe: a recipe line; kept in its canonical form.
        coder: of `codec.CODERS`, or `UNPACKED`.
        int8: whether the file computes in integers; None takes it from the recipe (`compress.ships_int8`).
        name: for people; "" to be told from the rest.
        file: its name in the experiment's folder; "" for one in `files/` that says what it is.
        copies: names of files beside it that hold the same network as `.keras` and as `.tflite`.

    Raises:
        ValueError: no such recipe or coder, or a float file of a recipe that quantizes.

    Example:
        >>> Line("alexnet", "share(5)").recipe
        'share(bits=5)'
    """

    network: str
    recipe: str = ""
    coder: str = _UNSTUDIED_CODER
    int8: bool | None = None
    name: str = ""
    file: str = ""
    copies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        recipe = compress.parse(self.recipe)
        if self.coder not in (*codec.CODERS, UNPACKED):
            raise ValueError(f"Expected a coder of {', '.join(codec.CODERS)}. Received: {self.coder!r}.")
        integer = compress.ships_int8(recipe)
        if self.int8 is False and integer:
            raise ValueError(
                f"Expected a recipe without quantize for a file that computes in float. Received: {recipe}."
            )
        object.__setattr__(self, "recipe", str(recipe))
        object.__setattr__(self, "int8", integer if self.int8 is None else self.int8)

    @property
    def levels(self) -> dict[str, str]:
        """The text of each technique in the recipe, by its name; of one that comes twice both."""
        found: dict[str, str] = {}
        for technique in compress.parse(self.recipe):
            before = found.get(technique.name)
            found[technique.name] = f"{before} | {technique}" if before else str(technique)
        return found

    @property
    def order(self) -> str:
        """The techniques' names in their order where that is not the usual one, else ""."""
        names = list(self.levels)
        usual = [name for name in compress.TECHNIQUES if name in names]
        return "" if names == usual else " | ".join(names)


def factors_of(lines: Sequence[Line]) -> tuple[list[dict[str, str]], dict[str, list[str]]]:
    """Read factors and levels off lines, so that whatever a recipe can say can be studied.

    Args:
        lines: of an experiment.

    Returns:
        For each line the level of each factor, "" where a technique is not in it; and the levels of each factor in
        the order in which lines have them. A factor of one level is not studied.

    Example:
        >>> lines = [Line("alexnet", recipe) for recipe in ("", "prune(0.8)", "share(5) | prune(0.8)")]
        >>> factors, levels = factors_of(lines)
        >>> levels["prune"], factors[2]["order"]
        (['', 'prune(0.8)'], 'share | prune')
    """
    factors = [
        {
            "network": line.network,
            **{name: line.levels.get(name, "") for name in compress.TECHNIQUES},
            "order": line.order,
            "coder": line.coder,
        }
        for line in lines
    ]
    names = list(factors[0]) if factors else []
    return factors, {name: list(dict.fromkeys(each[name] for each in factors)) for name in names}


def reference_level(levels: Sequence[str]) -> str:
    """The level of a factor that the others are compared with: "off" where there is one, else the first.

    Example:
        >>> reference_level(["huffman", "none"]), reference_level(["prune(0.8)", ""]), reference_level(["a", "b"])
        ('none', '', 'a')
    """
    return next((level for level in levels if level in ("", _NO_CODER)), levels[0])


def factor_names() -> tuple[str, ...]:
    """What a study can vary: the network, every technique, and the coder."""
    return ("network", *compress.TECHNIQUES, "coder")


def squeeze_lines(model: str, recipe: str, *, int8: bool = True) -> tuple[Line, Line]:
    """The two lines of a squeeze: the float network, and the file that ships.

    Args:
        model: a name of `models.MODELS`.
        recipe: a recipe line.
        int8: whether the file that ships is full-integer, whatever the recipe says.
    """
    family = models.MODELS[model].family if model in models.MODELS else model
    shipped = Line(
        model,
        recipe,
        codec.DEFAULT_CODER,
        int8,
        f"{family}, squeezed",
        "model.sqz",
        ("model.keras", "model.tflite"),
    )
    return Line(model, "", UNPACKED, None, f"{family}, float", f"{model}.tflite"), shipped


def recipe_lines(model: str, recipes: Iterable[str], levels: Sequence[str] = ()) -> tuple[Line, ...]:
    """The lines of recipes that were written out, each with every network and coder that is named.

    Args:
        model: a name of `models.MODELS`.
        recipes: recipe lines; "" is the network to which nothing is done.
        levels: names of further networks, and of coders in place of "small".

    Raises:
        ValueError: a level that is neither, or a recipe twice.
    """
    named = _by_factor(levels, model)
    if set(named) - {"network", "coder"}:
        raise ValueError(f"Expected networks and coders beside recipes. Received: {', '.join(levels)}.")
    networks = dict.fromkeys([model, *named.get("network", ())])
    lines = [
        Line(network, recipe, coder)
        for network in networks
        for recipe in recipes
        for coder in named.get("coder", [_UNSTUDIED_CODER])
    ]
    if len(set(lines)) < len(lines):
        raise ValueError("Expected every recipe once.")
    return tuple(lines)


def grid(
    model: str = DEFAULT_MODEL, techniques: Iterable[str] = (), levels: Sequence[str] = ()
) -> tuple[Line, ...]:
    """The lines of every combination of levels; the last factor changes fastest.

    Args:
        model: a name of `models.MODELS`.
        techniques: factors to study, of `factor_names()`; without any the network, prune, share, quantize and coder,
            and whatever else `levels` names. The others are left off, the coder at "small".
        levels: in place of a factor's usual levels: a technique as in a recipe line, the name of a network or of a
            coder, or "separable" for the network with separable fire modules. Of a technique "off" is always a level
            too, and of networks `model`.

    Raises:
        ValueError: an unknown factor, a level twice, or a level of a factor that is not studied.

    Example:
        >>> len(grid())
        64
        >>> lines = grid(techniques=["prune_channels"], levels=["prune_channels(0.3)"])
        >>> [line.recipe for line in lines]
        ['', 'prune_channels(0.3)']
    """
    known = factor_names()
    studied = ["network" if name == _OLD_FACTOR else name for name in techniques]
    strange = [name for name in studied if name not in known]
    if strange:
        raise ValueError(f"Expected techniques among {', '.join(known)}. Received: {strange[0]!r}.")
    named = _by_factor(levels, model)
    if studied:
        for factor, its_levels in named.items():
            if factor not in studied:
                raise ValueError(
                    f"Expected levels of {', '.join(studied)} only. Received: {its_levels[0]!r} of {factor}."
                )
    else:
        studied = [*_USUAL, *named]
    chosen: dict[str, list[str]] = {}
    for factor in known:
        usual = _usual_levels(factor, model)
        if factor not in studied:
            chosen[factor] = [_UNSTUDIED_CODER] if factor == "coder" else usual[:1]
        elif factor in named:
            off = [] if factor == "coder" else usual[:1]
            chosen[factor] = [*off, *(level for level in named[factor] if level not in off)]
        else:
            chosen[factor] = usual
        if len(set(chosen[factor])) < len(chosen[factor]):
            raise ValueError(f"Expected levels of {factor}, each once. Received: {chosen[factor]}.")
    lines = []
    for network, *recipe, coder in itertools.product(*chosen.values()):
        lines.append(Line(network, " | ".join(filter(None, recipe)), coder))
    return tuple(lines)


def separable_network(model: str) -> str | None:
    """The network of the catalogue that has separable fire modules and is otherwise like `model`; None without one."""
    entry = models.MODELS.get(model)
    if entry is None:
        return None
    wanted = (entry.family, {*entry.features, "separable fire"})
    return next(
        (
            name
            for name, other in models.MODELS.items()
            if name != model and (other.family, set(other.features)) == wanted
        ),
        None,
    )


def _usual_levels(factor: str, model: str) -> list[str]:
    """The levels of a factor when nothing is said, the reference first."""
    if factor == "network":
        separable = separable_network(model)
        return [model, separable] if separable else [model]
    if factor == "coder":
        # "auto" takes the smallest of the others.
        return [_NO_CODER, *(name for name in codec.CODERS if name not in (_NO_CODER, "auto"))]
    return ["", str(compress.parse(compress.TECHNIQUES[factor].study_level))]


def _by_factor(levels: Iterable[str], model: str) -> Mapping[str, list[str]]:
    """Levels by the factor that each belongs to, in their canonical form."""
    named: dict[str, list[str]] = {}
    for level in levels:
        if level in (_STANDARD, _SEPARABLE):
            network = model if level == _STANDARD else separable_network(model)
            if network is None:
                raise ValueError(f"Expected a model that has a separable one. Received: {model!r}.")
            factor, text = "network", network
        elif level in models.MODELS:
            factor, text = "network", level
        elif level in codec.CODERS and level != "auto":
            factor, text = "coder", level
        else:
            recipe = compress.parse(level)
            if len(recipe) != 1:
                raise ValueError(
                    "Expected a level like 'prune(0.9)', a network or a coder; a whole recipe is for --recipe. "
                    f"Received: {level!r}."
                )
            factor, text = recipe[0].name, str(recipe)
        named.setdefault(factor, []).append(text)
    return named
