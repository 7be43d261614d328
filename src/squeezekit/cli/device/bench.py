"""`squeezekit bench`: a model's speed, memory and energy, on this machine or another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from squeezekit import runtime
from squeezekit.cli.output import PATH, json_option, print_json, progress, table
from squeezekit.cli.ssh import Remote
from squeezekit.quiet import quiet_native

__all__ = ["command"]


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=PATH)
@click.option(
    "--runs", default=200, show_default=True, type=click.IntRange(20), help="Timed inferences of each model."
)
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="Threads for one inference."
)
@click.option(
    "--processes",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Fresh processes to start; the cold start is their median.",
)
@click.option("--image", metavar="PHOTO", type=PATH, help="Image for the fresh processes; noise by default.")
@click.option(
    "--meter",
    metavar="FILE",
    type=PATH,
    help="Log of a USB power meter, with lines of seconds,watts, that grows during the measurement.",
)
@click.option(
    "--on",
    "address",
    metavar="ssh://USER@HOST[:PORT]",
    help="Copy the models to that machine and measure there.",
)
@click.option(
    "--remote-program",
    default="squeezekit",
    show_default=True,
    help="The squeezekit command on that machine.",
)
@json_option()
def command(
    models: tuple[Path, ...],
    runs: int,
    threads: int,
    processes: int,
    image: Path | None,
    meter: Path | None,
    address: str | None,
    remote_program: str,
    as_json: bool,
) -> None:
    """Measure .sqz or .tflite models: latency, throughput, cold start, memory and energy.

    Several models take turns, and each is compared with the first. Energy comes from a counter if the machine has
    one (RAPL, the power chip of a Pi 5) or from --meter; otherwise it is an estimate, marked as one.
    """
    if address is None:
        with quiet_native(), progress("measuring") as bar:
            found = runtime.bench(
                models,
                runs=runs,
                threads=threads,
                processes=processes,
                image=image,
                meter_log=meter,
                progress=bar,
            )
    elif meter is not None:
        raise ValueError(
            "Expected --meter without --on: the log is on this machine, the measurement on another."
        )
    else:
        options = [f"--runs={runs}", f"--threads={threads}", f"--processes={processes}"]
        found = _bench_there(Remote.parse(address, program=remote_program), models, image, options)
    if as_json:
        print_json(found)
    else:
        click.echo(_text(found))


def _bench_there(
    remote: Remote, models: tuple[Path, ...], image: Path | None, options: list[str]
) -> dict[str, Any]:
    """Measure on another machine; the result has the paths of this one."""
    names: dict[str, str] = {}
    with remote.folder() as folder:
        for number, model in enumerate(models):
            # Numbered: two models may have the same name in different folders.
            names[remote.copy(model, folder, f"{number}{model.suffix}")] = str(model)
        words = ["bench", *names, *options, "--json"]
        if image is not None:
            words.append(f"--image={remote.copy(image, folder, f'image{image.suffix}')}")
        found = remote.run_json(words)
    for model in found["models"]:
        model["path"] = names.get(model["path"], model["path"])
        if model["ratio"]:
            model["ratio"]["to"] = names.get(model["ratio"]["to"], model["ratio"]["to"])
    return {**found, "on": remote.name}


def _text(found: Mapping[str, Any]) -> str:
    rows, starts = [], []
    for model in found["models"]:
        times, ratio, cold, peak = (
            model[key] for key in ("latency_ms", "ratio", "cold_start_ms", "peak_rss_bytes")
        )
        rows.append(
            [
                model["path"],
                f"{model['bytes']:,}",
                *(f"{times[key]:.2f}" for key in ("median", "p90", "p99")),
                f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else "",
                " ".join(
                    f"{part['threads']}: {part['images_per_second']:,.0f}" for part in model["throughput"]
                ),
                f"{model['energy']['millijoules']:.2f}{'' if model['energy']['measured'] else ' *'}",
            ]
        )
        starts.append(
            [
                model["path"],
                *(f"{cold[key]:.0f}" for key in ("import", "decode", "allocate", "first", "total")),
                f"{peak / 1e6:.1f}" if peak is not None else "",
            ]
        )
    header = [
        "model",
        "bytes",
        "median ms",
        "p90",
        "p99",
        "ratio to first (95 %)",
        "images/s by threads",
        "mJ",
    ]
    parts = [table(header, rows, right=[1, 2, 3, 4, 5, 7])]
    header = ["cold start, ms", "import", "decode", "allocate", "first", "total", "peak MB"]
    parts.append(table(header, starts, right=[1, 2, 3, 4, 5, 6]))
    parts.append(_notes(found))
    return "\n\n".join(parts)


def _notes(found: Mapping[str, Any]) -> str:
    machine, degrees = found["machine"], found["temperature_c"]
    where = f", on {found['on']}" if "on" in found else ""
    lines = [f"{machine['model']}, {machine['system']}, {machine['cores']} cores{where}."]
    if degrees["before"] is not None and degrees["after"] is not None:
        lines.append(f"Processor {degrees['before']:.0f} °C before, {degrees['after']:.0f} °C after.")
    if found["throttled"]:
        lines.append(f"The Pi throttled itself: {', '.join(found['throttled'])}. The times are too long.")
    energies = [model["energy"] for model in found["models"]]
    star = "" if energies[0]["measured"] else "* "
    lines.append(f"{star}Energy of an inference beyond the idle machine, by {energies[0]['method']}.")
    return "\n".join(lines)
