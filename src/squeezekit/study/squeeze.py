"""The main job: images in, a `.sqz` out, and a table of what it cost against AlexNet."""

import os
from collections.abc import Callable
from typing import Any

from squeezekit import compress, files, models
from squeezekit.study.plan import Plan
from squeezekit.study.report import render
from squeezekit.study.workshop import describe_run, describe_start, open_workshop
from squeezekit.training import Progress

__all__ = ["squeeze"]


def squeeze(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    command: str = "",
    progress: Progress | None = None,
    advise: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Train, squeeze, pack and measure; killed and called again, it goes on where it was.

    Writes OUT/model.sqz (what ships), model.tflite and model.keras (the same network unpacked and before
    export), squeezenet.tflite and alexnet.tflite (float, for comparison), run.json and report.html.

    Args:
        source: the images, as `data.open_dataset` takes them.
        out: the run's folder.
        plan: what to do; `Plan()` by default.
        command: the command line, for the record.
        progress: where to show how far it is.
        advise: called before any training with each sentence of `compress.advice` on the recipe.

    Returns:
        What `run.json` holds: data, settings, curves and one row of figures a file.

    Raises:
        DataError: the images cannot serve.
        ValueError: `out` holds another run's work, or the teacher does not fit the network.
        OSError: a file cannot be written.
    """
    plan = plan or Plan()
    shop = open_workshop(
        source,
        out,
        size=plan.size,
        validation=plan.validation,
        train_per_class=plan.train_per_class,
        seed=plan.settings.seed,
        progress=progress,
    )
    plan = plan.for_images(len(shop.dataset.train))
    # Of the network as it starts: what a recipe cannot pay shows on any weights, and an hour earlier.
    fresh = models.build(
        plan.model, (shop.preprocess.height, shop.preprocess.width, 3), len(shop.dataset.class_names)
    )
    if plan.distil is not None:
        plan.distil.check(fresh)
    advice = compress.advice(fresh, plan.recipe, int8=plan.int8)
    for line in advice:
        if advise:
            advise(line)
    # The family and its version; the rest of the name stands in the row's "model".
    title = " ".join(plan.model.split("-")[:2]).replace("squeezenet", "SqueezeNet")
    options = {"norm": plan.norm} if plan.norm else {}
    model = shop.train(plan.model, plan.network_settings, initial=plan.initial, frozen=plan.frozen, **options)
    started = describe_start(model, plan.initial, plan.frozen)
    path = shop.export(model, shop.out / "squeezenet.tflite")
    rows = [shop.measure(path, f"{title}, float", plan.model, model)]
    distil = None if plan.distil is None else plan.distil.of(model)
    compressed = shop.compress(model, plan.recipe, plan.compress_settings, distil=distil)
    squeezed = compressed.model
    with files.replacing(shop.out / "model.keras") as temporary:
        squeezed.save(temporary)
    path = shop.export(
        squeezed,
        shop.out / "model.tflite",
        recipe=str(plan.recipe),
        int8=plan.int8,
        ranges=compressed.ranges,
    )
    path = shop.pack(path, shop.out / "model.sqz")
    rows.append(shop.measure(path, f"{title}, squeezed", plan.model, squeezed))
    if plan.baseline:
        # Last, because what the user came for is there by now; first in the table, because it is compared with.
        shop.progress.say(f"{shop.out / 'model.sqz'} is ready; now AlexNet, to compare with")
        model = shop.train("alexnet", plan.settings)
        path = shop.export(model, shop.out / "alexnet.tflite")
        rows.insert(0, shop.measure(path, "AlexNet, float", "alexnet", model))
    run = describe_run(
        shop,
        command,
        rows,
        {
            "model": plan.model,
            "recipe": str(plan.recipe),
            "int8": plan.int8,
            "advice": advice,
            **started,
            "settings": plan.network_settings.to_dict(),
            "compress_settings": plan.compress_settings.to_dict(),
            **({} if distil is None else {"distil": distil.to_dict()}),
        },
    )
    files.write_json(shop.out / "run.json", run)
    files.write_text(shop.out / "report.html", render(run))
    return run
