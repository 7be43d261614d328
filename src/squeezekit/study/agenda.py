"""What a study has to do, before any of it is done: the trained stages, the rows, and the key of each."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import squeezekit
from squeezekit import models
from squeezekit.compress import parse
from squeezekit.data import Dataset
from squeezekit.preprocess import Preprocess
from squeezekit.study.again import command_of
from squeezekit.study.grid import Grid
from squeezekit.training import Precision, Settings, bfloat16_is_fast, settings_for

__all__ = ["Agenda", "RowSpec", "Site", "Stage", "StudyPlan", "describe_plan", "make_agenda"]

# Kept by hand: raised when the same settings no longer train the same network, and no old stage is reused; that of
# inputs under `TINY_SIDE` alone where the change was theirs alone.
_TRAINING_CODE, _TINY_TRAINING_CODE = 1, 3
# The same for what makes a row of a trained stage: export, packing, measures.
_MEASURING_CODE = 2


@dataclasses.dataclass(frozen=True)
class StudyPlan:
    """Everything that determines a study besides the images.

    Args:
        grid: the combinations.
        model: a SqueezeNet of `models.MODELS`, with standard fire modules.
        width: multiplies the channels of all its networks, AlexNet's too.
        size: side of the input in pixels; 0 takes it from the images.
        settings: of every training from scratch; their seed is the first, and chooses the splits for all seeds.
        compress_epochs: epochs of each stage of a recipe; 0 takes three tenths of those from scratch.
        seeds: how often everything is trained.
        baseline: whether AlexNet is trained too, with the same settings.
        validation: share of the training images that the curves are drawn by.
        probes: fresh processes that each file's cold start is the median of.
        only: seed and factors of the one row to make (no factors: AlexNet's), with what it needs; None makes all.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> StudyPlan().networks
        {'standard': 'squeezenet-1.1-bypass', 'separable': 'squeezenet-1.1-separable-bypass'}
    """

    grid: Grid = dataclasses.field(default_factory=Grid)
    model: str = "squeezenet-1.1-bypass"
    width: float = 1.0
    size: int = 0
    settings: Settings = dataclasses.field(default_factory=Settings)
    compress_epochs: int = 0
    seeds: int = 1
    baseline: bool = True
    validation: float = 0.1
    probes: int = 3
    only: tuple[int, Mapping[str, str]] | None = None

    def __post_init__(self) -> None:
        for name, least in (("compress_epochs", 0), ("seeds", 1), ("probes", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Expected {name} >= {least}. Received: {name}={getattr(self, name)}.")
        standard = [
            name for name in models.MODELS if name.startswith("squeezenet") and "separable" not in name
        ]
        if self.model not in standard:
            raise ValueError(f"Expected a model of {', '.join(standard)}. Received: {self.model!r}.")

    @property
    def networks(self) -> dict[str, str]:
        """The network of each level of the factor `fire`.

        The separable one is trained from scratch like the other, for as long. Swapping the modules of a trained one
        (`separable()`) would give it a second training, and the difference would be the training's as much as the
        modules'.
        """
        separable = re.sub(r"^(squeezenet-[\d.]+)", r"\1-separable", self.model)
        return {
            fire: name
            for fire, name in (("standard", self.model), ("separable", separable))
            if fire in self.grid.fire
        }

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, one after another."""
        return tuple(range(self.settings.seed, self.settings.seed + self.seeds))

    def for_images(self, images: int) -> "StudyPlan":
        """The plan with its settings filled in for a number of training images, and for this processor."""
        precision = self.settings.precision
        if precision is Precision.AUTO:
            # Named, because it is part of a stage's key: another machine may choose otherwise.
            precision = Precision.BFLOAT16 if bfloat16_is_fast() else Precision.FLOAT32
        settings = dataclasses.replace(self.settings.for_images(images), precision=precision)
        return dataclasses.replace(self, settings=settings)

    @property
    def compress_settings(self) -> Settings:
        """The settings of each stage of a recipe, once `for_images` has filled them in."""
        return self.settings.for_retraining(self.compress_epochs)


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """Where a study works; goes to wherever a stage is trained.

    Args:
        dataset: the images.
        preprocess: what the networks see of an image.
        source: what the user named as the images.
        out: the study's folder.
        cache: the folder of its stages, one a key.
        study: of which study a stage says that it was trained for it.
    """

    dataset: Dataset
    preprocess: Preprocess
    source: str
    out: Path
    cache: Path
    study: str

    def folder(self, key: str) -> Path:
        """Where a stage lies."""
        return self.cache / key

    def absolute(self) -> "Site":
        """The same for a process that works in another folder."""
        data = self.dataset
        train, validation, test = (split.absolute() for split in (data.train, data.validation, data.test))
        return dataclasses.replace(
            self,
            dataset=dataclasses.replace(data, train=train, validation=validation, test=test),
            out=self.out.absolute(),
            cache=self.cache.absolute(),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """One training: a network from scratch, or one more technique on what an earlier stage left.

    Args:
        network: a name of `models.MODELS`.
        recipe: the recipe up to this stage; "" for the network from scratch.
        seed: of this training and of all before it.
        settings: of this training.
        width: of the network.
        keys: of the network from scratch, then of each stage after it; the last is this one's.
        identity: what the key is a digest of.
    """

    network: str
    recipe: str
    seed: int
    settings: Settings
    width: float
    keys: tuple[str, ...]
    identity: Mapping[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 of what determines the stage."""
        return self.keys[-1]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.network}, {self.recipe or 'from scratch'}, seed {self.seed}"


@dataclasses.dataclass(frozen=True, eq=False)
class RowSpec:
    """A row to be measured.

    Args:
        id: 16 hexadecimal digits of what determines it.
        stage: the stage whose network it is of.
        factors: a level of each factor; none for AlexNet.
        file: name of its file, relative to the study's folder.
        command: what makes it alone.
    """

    id: str
    stage: Stage
    factors: Mapping[str, str]
    file: str
    command: str


@dataclasses.dataclass(frozen=True, eq=False)
class Agenda:
    """All of a study, in an order in which it can be done.

    Args:
        stages: each after those that it needs.
        rows: in the order of their stages.
    """

    stages: tuple[Stage, ...]
    rows: tuple[RowSpec, ...]

    def rows_of(self, stage: Stage) -> list[RowSpec]:
        """The rows that are exported from a stage."""
        return [row for row in self.rows if row.stage is stage]


def make_agenda(plan: StudyPlan, dataset: Dataset, preprocess: Preprocess) -> Agenda:
    """Say what a study of these images has to do.

    Args:
        plan: with its settings filled in (`for_images`).
        dataset: the images.
        preprocess: what the networks see of an image.

    Raises:
        ValueError: `plan.only` is no row of it.
    """
    tiny = min(preprocess.height, preprocess.width) < models.TINY_SIDE
    common = {
        "squeezekit": squeezekit.__version__,
        "training_code": _TINY_TRAINING_CODE if tiny else _TRAINING_CODE,
        "data": dataset.fingerprint,
        "split": {
            "validation": plan.validation,
            "seed": plan.settings.seed,
            **({"train_per_class": dataset.train_per_class} if dataset.train_per_class else {}),
        },
        "preprocess": preprocess.to_dict(),
    }
    record = describe_plan(plan, preprocess)
    stages: list[Stage] = []
    rows: list[RowSpec] = []
    for seed in plan.seed_numbers:
        for fire, network in plan.networks.items():
            found = {
                stage.recipe: stage for stage in _stages(plan, common, network, seed, plan.grid.recipes())
            }
            stages += found.values()
            for factors in plan.grid.combinations():
                if factors["fire"] == fire:
                    rows.append(_row(found[Grid.recipe(factors)], factors, record))
        if plan.baseline:
            (alexnet,) = _stages(plan, common, "alexnet", seed, ())
            stages.append(alexnet)
            rows.append(_row(alexnet, {}, record))
    if plan.only is not None:
        rows = [row for row in rows if (row.stage.seed, dict(row.factors)) == plan.only]
        if not rows:
            raise ValueError(f"Expected a row of the study to make alone. Received: {plan.only}.")
        stages = [stage for stage in stages if stage.key in rows[0].stage.keys]
    return Agenda(tuple(stages), tuple(rows))


def describe_plan(plan: StudyPlan, preprocess: Preprocess) -> dict[str, Any]:
    """What `study.json` says of a plan; enough to make each row again.

    Args:
        plan: with its settings filled in.
        preprocess: what the networks see of an image.
    """
    return {
        "preprocess": preprocess.to_dict(),
        "model": plan.model,
        "width": plan.width,
        "grid": plan.grid.levels(),
        "seeds": list(plan.seed_numbers),
        "settings": plan.settings.to_dict(),
        "compress_settings": plan.compress_settings.to_dict(),
    }


def _stages(
    plan: StudyPlan, common: Mapping[str, Any], network: str, seed: int, recipes: tuple[str, ...]
) -> Iterator[Stage]:
    """A network from scratch and its recipes, each after what it continues."""
    scratch = dataclasses.replace(settings_for(network, plan.settings), seed=seed)
    retraining = dataclasses.replace(plan.compress_settings, seed=seed)
    keys: dict[str, tuple[str, ...]] = {}
    for recipe in ("", *recipes):
        identity = {
            **common,
            "network": network,
            "options": {"width": plan.width},
            "settings": scratch.to_dict(),
            "recipe": recipe,
            **({"compress_settings": retraining.to_dict()} if recipe else {}),
        }
        techniques = parse(recipe).techniques
        before = keys[" | ".join(map(str, techniques[:-1]))] if techniques else ()
        keys[recipe] = (*before, _digest(identity))
        settings = retraining if recipe else scratch
        yield Stage(network, recipe, seed, settings, plan.width, keys[recipe], identity)


def _row(stage: Stage, factors: Mapping[str, str], record: Mapping[str, Any]) -> RowSpec:
    identity = {"stage": stage.key, "factors": dict(factors), "measuring_code": _MEASURING_CODE}
    row_id = _digest(identity)[:16]
    words = ["alexnet"] if not factors else [level for level in factors.values() if level]
    title = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join([*words, f"seed{stage.seed}"]))
    suffix = ".sqz" if factors else ".tflite"
    # The title is for people and cut short; the digits make it one of its kind.
    file = f"files/{title[:100].strip('-')}-{row_id[:8]}{suffix}"
    return RowSpec(row_id, stage, factors, file, command_of(record, factors, stage.seed))


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
