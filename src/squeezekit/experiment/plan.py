"""What an experiment has to do, before any of it is done: trained stages, rows, and the key of each."""

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

import squeezekit
from squeezekit import compress, models
from squeezekit.data import Dataset
from squeezekit.experiment.experiment import Experiment
from squeezekit.experiment.grid import UNPACKED, Line, factors_of
from squeezekit.options import command_words
from squeezekit.preprocess import Preprocess
from squeezekit.training import Distil, SelfDistil, Settings, settings_for, weights_digest

__all__ = ["Plan", "RowSpec", "Site", "Stage", "describe_experiment", "make_plan"]

# Raised by hand when the same settings no longer train the same network, so that no old stage is reused; inputs under
# `TINY_SIDE` have a number of their own.
_TRAINING_CODE, _TINY_TRAINING_CODE = 1, 3
# The same for what makes a row of a trained stage: export, packing, measures.
_MEASURING_CODE = 2

_BASELINE = "alexnet"


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """Where an experiment works; goes to wherever a stage is trained.

    Args:
        dataset: the images.
        preprocess: what the networks see of an image.
        source: what the user named as the images.
        out: the experiment's folder.
        cache: the folder of its stages, one a key.
        id: of the experiment, for the records of the stages that it trains.
    """

    dataset: Dataset
    preprocess: Preprocess
    source: str
    out: Path
    cache: Path
    id: str

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
        network: a name of `models.MODELS`, or that of the plan's `given` network.
        recipe: the recipe up to this stage; "" for the network itself.
        seed: of this training and of all before it.
        settings: of this training.
        keys: of the network, then of each stage after it; the last is this one's.
        identity: what the key is a digest of.
        options: of the network, for `training.train_network`; nothing for a stage of a recipe.
        given: the network itself where it needs no training.
        distil: who guides a stage of a recipe.
    """

    network: str
    recipe: str
    seed: int
    settings: Settings
    keys: tuple[str, ...]
    identity: Mapping[str, Any]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    given: keras.Model | None = None
    distil: Distil | SelfDistil | None = None

    @property
    def key(self) -> str:
        """SHA-256 of what determines the stage."""
        return self.keys[-1]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.network}, {self.recipe or ('as given' if self.given else 'from scratch')}, seed {self.seed}"


@dataclasses.dataclass(frozen=True, eq=False)
class RowSpec:
    """A row to be measured.

    Args:
        id: 16 hexadecimal digits of what determines it.
        name: for people.
        stage: the stage whose network it is of.
        line: how its file is made.
        factors: a level of each factor; none for the baseline.
        file: name of its file, relative to the experiment's folder.
        command: what makes it alone.
    """

    id: str
    name: str
    stage: Stage
    line: Line
    factors: Mapping[str, str]
    file: str
    command: str

    @property
    def baseline(self) -> bool:
        """Whether it is what the others are compared with."""
        return not self.factors


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All of an experiment, in an order in which it can be done.

    Args:
        stages: each after those that it needs.
        rows: in the order of their stages.
        grid: the levels of each factor.
    """

    stages: tuple[Stage, ...]
    rows: tuple[RowSpec, ...]
    grid: Mapping[str, Sequence[str]]

    def rows_of(self, stage: Stage) -> list[RowSpec]:
        """The rows that are exported from a stage."""
        return [row for row in self.rows if row.stage is stage]


def make_plan(experiment: Experiment, dataset: Dataset, preprocess: Preprocess) -> Plan:
    """Say which stages and rows an experiment on these images has.

    Args:
        experiment: with its settings filled in (`for_images`).
        dataset: the images.
        preprocess: what the networks see of an image.
    """
    factors, levels = factors_of(experiment.lines)
    stages: dict[str, Stage] = {}
    rows: list[RowSpec] = []

    def add(experiment: Experiment, line: Line, its_factors: Mapping[str, str], seed: int) -> None:
        chain = _chain(experiment, dataset, preprocess, line, seed)
        # Lines that begin alike share the stages that they have in common.
        kept = [stages.setdefault(stage.key, stage) for stage in chain]
        command = _command(experiment, preprocess, line, bool(its_factors), seed)
        rows.append(_row(kept[-1], line, its_factors, command))

    for seed in experiment.seed_numbers:
        for network in experiment.networks:
            for line, its_factors in zip(experiment.lines, factors, strict=True):
                if line.network == network:
                    add(experiment, line, its_factors, seed)
        if experiment.baseline:
            named = bool(experiment.lines) and all(line.file for line in experiment.lines)
            title, file = models.MODELS[_BASELINE].family, f"{_BASELINE}.tflite" if named else ""
            line = Line(_BASELINE, coder=UNPACKED, name=f"{title}, float", file=file)
            add(experiment.from_scratch(), line, {}, seed)
    return Plan(tuple(stages.values()), tuple(rows), levels)


def describe_experiment(experiment: Experiment, preprocess: Preprocess) -> dict[str, Any]:
    """What the record of a run says of its experiment; enough to make each row again.

    Args:
        experiment: with its settings filled in.
        preprocess: what the networks see of an image.
    """
    return {
        "preprocess": preprocess.to_dict(),
        "model": next(iter(experiment.networks), _BASELINE),
        "width": experiment.width,
        "grid": factors_of(experiment.lines)[1],
        "seed": experiment.settings.seed,
        "seeds": list(experiment.seed_numbers),
        "settings": experiment.network_settings.to_dict(),
        "compress_settings": experiment.compress_settings.to_dict(),
    }


def _chain(
    experiment: Experiment, dataset: Dataset, preprocess: Preprocess, line: Line, seed: int
) -> Iterator[Stage]:
    """The stages of a line: its network, then one a technique."""
    tiny = min(preprocess.height, preprocess.width) < models.TINY_SIDE
    # What stands here is part of every key: nothing may be added for what earlier caches hold.
    common: dict[str, Any] = {
        "squeezekit": squeezekit.__version__,
        "training_code": _TINY_TRAINING_CODE if tiny else _TRAINING_CODE,
        "data": dataset.fingerprint,
        "split": {
            "validation": experiment.validation,
            "seed": experiment.settings.seed,
            **({"train_per_class": dataset.train_per_class} if dataset.train_per_class else {}),
        },
        "preprocess": preprocess.to_dict(),
        "network": line.network,
        "options": {"width": experiment.width, **({"norm": experiment.norm} if experiment.norm else {})},
    }
    scratch = experiment.network_settings
    if experiment.given is None:
        scratch = settings_for(line.network, scratch)
    scratch = dataclasses.replace(scratch, seed=seed)
    common["settings"] = scratch.to_dict()
    if experiment.given is not None:
        common["given"] = weights_digest(experiment.given)
    if experiment.initial is not None:
        common["init"] = {"sha256": experiment.initial.sha256, "frozen": list(experiment.frozen)}
    network = {**common, "recipe": ""}
    if experiment.teacher is not None:
        common["teacher"] = network["distil"] = experiment.teacher.to_dict()
    keys: tuple[str, ...] = (_digest(network),)
    options = {
        **common["options"],
        "initial": experiment.initial,
        "frozen": experiment.frozen,
        "distil": experiment.teacher,
    }
    yield Stage(line.network, "", seed, scratch, keys, network, options, experiment.given)
    retraining = dataclasses.replace(experiment.compress_settings, seed=seed)
    common["compress_settings"] = retraining.to_dict()
    if experiment.distil is not None:
        common["distil"] = _describe_teacher(experiment.distil)
    techniques = compress.parse(line.recipe).techniques
    for count in range(1, len(techniques) + 1):
        recipe = " | ".join(map(str, techniques[:count]))
        identity = {**common, "recipe": recipe}
        keys = (*keys, _digest(identity))
        yield Stage(line.network, recipe, seed, retraining, keys, identity, distil=experiment.distil)


def _describe_teacher(distil: Distil | SelfDistil) -> dict[str, Any]:
    """What tells this teaching from others before the network is trained."""
    if isinstance(distil, Distil):
        return distil.to_dict()
    return {**dataclasses.asdict(distil), "teacher": "self"}


def _row(stage: Stage, line: Line, factors: Mapping[str, str], command: str) -> RowSpec:
    old = _first_version_factors(line) if factors else {}
    integer = line.int8 != compress.ships_int8(compress.parse(line.recipe))
    identity = {
        "stage": stage.key,
        "factors": old,
        "measuring_code": _MEASURING_CODE,
        **({"int8": line.int8} if integer else {}),
    }
    row_id = _digest(identity)[:16]
    words = [level for level in old.values() if level] if factors else [line.network]
    title = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join([*words, f"seed{stage.seed}"]))
    suffix = ".tflite" if line.coder == UNPACKED else ".sqz"
    # The title is for people and cut short; the digits make it one of its kind.
    file = line.file or f"files/{title[:100].strip('-')}-{row_id[:8]}{suffix}"
    name = line.name or ", ".join(filter(None, [models.title(line.network), line.recipe, line.coder]))
    return RowSpec(row_id, name, stage, line, factors, file, command)


def _first_version_factors(line: Line) -> dict[str, str]:
    """The factors that the first version's five fixed ones would have had: part of every id and of files' names."""
    levels = line.levels
    fire = "separable" if "separable" in line.network.split("-") else "standard"
    fixed = {name: levels.pop(name, "") for name in ("prune", "share", "quantize")}
    network = fire if line.network.startswith("squeezenet-") else line.network
    return {"fire": network, **fixed, "coder": line.coder, **levels}


def _command(experiment: Experiment, preprocess: Preprocess, line: Line, studied: bool, seed: int) -> str:
    """The `squeezekit study` line that makes one row of a study again; DATA stands for the images.

    On the same images, versions and kind of processor it ends with the same file, `row/` before its name, and with a
    row of the same id. It names what a study left to the images or the processor.
    """
    named = dataclasses.replace(
        experiment,
        size=preprocess.height,
        compress_epochs=experiment.compress_settings.epochs,
        seeds=1,
        baseline=True,
        only=seed,
    )
    row = ["--model", line.network, "--recipe", line.recipe, "--level", line.coder] if studied else []
    return shlex.join(["squeezekit", "study", "DATA", "-o", "row", *row, *command_words(named)])


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
