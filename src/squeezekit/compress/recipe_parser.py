"""The recipe line: `"prune(0.8) | share(bits=5) | quantize(8)"`."""

import ast
import dataclasses

from squeezekit.compress.technique import Recipe, Technique
from squeezekit.compress.techniques.prune import Prune
from squeezekit.compress.techniques.prune_channels import PruneChannels
from squeezekit.compress.techniques.quantize import Quantize
from squeezekit.compress.techniques.separable import Separable
from squeezekit.compress.techniques.share import ShareWeights

__all__ = ["TECHNIQUES", "parse"]

TECHNIQUES: dict[str, type[Technique]] = {
    kind.name: kind for kind in (PruneChannels, Separable, Prune, ShareWeights, Quantize)
}
"""Every technique by the name that it has in a recipe line, in the order in which a recipe usually has them."""

MAX_LENGTH = 10_000

_COMMON = {field.name for field in dataclasses.fields(Technique)}


def parse(line: str) -> Recipe:
    """Read a recipe line: techniques in the order of their stages, separated by `|`; nothing in it is executed.

    A technique is its name with the settings of its class in brackets, by position or by keyword, as plain
    literals. Brackets may group. An empty line is the empty recipe.

    Args:
        line: for example `"prune(0.8) | share(bits=5) | quantize(8)"`.

    Returns:
        The recipe; `str` of it is the canonical line, which parses to an equal recipe.

    Raises:
        ValueError: not a recipe line, an unknown technique, or a setting out of range.

    Example:
        >>> recipe = parse("prune(0.8)|(share|quantize(8))")
        >>> str(recipe)
        'prune(0.8) | share(bits=5) | quantize(bits=8)'
        >>> parse(str(recipe)) == recipe
        True
    """
    if len(line) > MAX_LENGTH:
        raise ValueError(
            f"Expected a recipe of up to {MAX_LENGTH} characters. Received: {len(line)} characters."
        )
    line = " ".join(line.split())
    if not line:
        return Recipe()
    try:
        return _recipe(ast.parse(line, mode="eval").body, line)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(
            "Expected a recipe like 'prune(0.8) | share(bits=5) | quantize(8)'. "
            f"Received: {line!r} ({getattr(error, 'msg', 'nested too deep')})."
        ) from None


def _recipe(node: ast.expr, line: str) -> Recipe:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _recipe(node.left, line) | _recipe(node.right, line)
    return Recipe(_technique(node, line))


def _technique(node: ast.expr, line: str) -> Technique:
    call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
    text = ast.get_source_segment(line, node) or line
    known = ", ".join(TECHNIQUES)
    if not isinstance(call.func, ast.Name):
        raise ValueError(f"Expected techniques ({known}) separated by '|'. Received: {text!r}.")
    kind = TECHNIQUES.get(call.func.id)
    if kind is None:
        raise ValueError(f"Expected one of the techniques {known}. Received: {call.func.id!r}.")
    try:
        positional = [ast.literal_eval(argument) for argument in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, TypeError):
        raise ValueError(
            f"Expected numbers, names in quotes, True, False or None as settings. Received: {text!r}."
        ) from None
    if len(named) < len(call.keywords):
        raise ValueError(f"Expected every setting once. Received: {text!r}.")
    fields = ", ".join(sorted((field.name for field in dataclasses.fields(kind)), key=_COMMON.__contains__))
    try:
        return kind(*positional, **named)  # type: ignore[arg-type]
    except TypeError as error:
        # An unknown, repeated or missing setting; Python's own message says which.
        reason = str(error).partition("() ")[2] or str(error)
        raise ValueError(f"Expected {kind.name}({fields}). Received: {text!r} ({reason}).") from None
    except ValueError as error:
        raise ValueError(f"{kind.name}: {error}") from None
