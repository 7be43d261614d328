"""A study that nobody ran: 64 rows for each of 2 seeds and AlexNet's, with effects that are known."""

import hashlib
import itertools
import json
import math
import shlex

import numpy as np

NETWORK, SEPARABLE = "squeezenet-1.1-bypass", "squeezenet-1.1-separable-bypass"
GRID = {
    "network": [NETWORK, SEPARABLE],
    "prune_channels": [""],
    "separable": [""],
    "prune": ["", "prune(0.8)"],
    "share": ["", "share(bits=5)"],
    "quantize": ["", "quantize(bits=8)"],
    "order": [""],
    "coder": ["none", "huffman", "rans", "small"],
}
SEEDS = [0, 1]
LABELS = ["buildings", "forest", "glacier", "mountain", "sea", "street"]
IMAGES = 300
TRUTH = [image % len(LABELS) for image in range(IMAGES)]
FULL_BYTES = 2_914_368
# Logarithms of bytes that each level takes off; prune and a coder take off PAIR more together.
SAVED = {
    SEPARABLE: 0.9, "prune(0.8)": 0.0, "share(bits=5)": 0.05, "quantize(bits=8)": 1.3,
    "huffman": 0.35, "rans": 0.4, "small": 0.5,
}  # fmt: skip
PAIR = 0.7


TECHNIQUES = ("prune", "share", "quantize")


def key(*parts):
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def recipe_of(factors):
    return " | ".join(filter(None, (factors.get(name) for name in TECHNIQUES)))


def log_bytes(factors, seed=0):
    saved = sum(SAVED.get(level, 0.0) for level in factors.values())
    if factors["prune"] and factors["coder"] != "none":
        saved += PAIR
    # The seed makes the file of a long recipe a little larger.
    return math.log(FULL_BYTES) - saved + 0.00025 * seed * len(recipe_of(factors))


def predictions(factors, seed):
    """Right where the network is able enough for the image; pruned and shared weights forget the sea.

    A separable network loses 1 of 50 images of each class, sharing loses another, and prune and share together 6 of
    the sea.
    """
    random = np.random.default_rng(seed)
    classes = len(LABELS)
    each = IMAGES // classes
    hard = (np.array([random.permutation(each) for _ in range(classes)]).T.ravel() + 0.5) / each
    other = random.integers(1, classes, IMAGES)
    # AlexNet has no factors: it is as able as a separable network.
    able = 0.87 - 0.02 * (factors.get("network") != NETWORK) - 0.02 * bool(factors.get("share"))
    forgetful = bool(factors.get("prune")) and bool(factors.get("share"))
    predicted = []
    for image, label in enumerate(TRUTH):
        right = hard[image] < able - 0.12 * (forgetful and LABELS[label] == "sea")
        predicted.append(label if right else int((label + other[image]) % classes))
    return predicted


def wilson(share, images=IMAGES, z=1.96):
    centre, scale = share + z * z / (2 * images), 1 + z * z / images
    spread = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return [(centre - spread) / scale, (centre + spread) / scale]


def row(factors, seed, size, **more):
    """A row as a study writes it; AlexNet's has no factors."""
    predicted = predictions(factors, seed)
    right = [one == other for one, other in zip(predicted, TRUTH, strict=True)]
    top1 = sum(right) / IMAGES
    counts = {label: TRUTH.count(place) for place, label in enumerate(LABELS)}
    recalls = {label: sum(right[place :: len(LABELS)]) / counts[label] for place, label in enumerate(LABELS)}
    worst = min(recalls, key=recalls.get)
    recipe, network = recipe_of(factors), factors.get("network", "alexnet")
    parts = [network, *filter(None, (factors.get(name) for name in (*TECHNIQUES, "coder")))]
    parameters = 725_574 if factors else 23_476_000
    nonzero = 148_210 if factors.get("prune") else parameters
    words = ["--recipe", recipe, "--level", factors.get("coder", "small")] if factors else []
    return {
        "id": key(factors, seed),
        "baseline": not factors,
        "name": ", ".join(parts) if factors else "AlexNet, float",
        "factors": factors,
        "recipe": recipe,
        "network": network,
        "model": network,
        "seed": seed,
        "stage": key(network, recipe, seed),
        "file": f"files/{'-'.join(parts)}-{seed}.{'sqz' if factors else 'tflite'}",
        "command": shlex.join([*f"squeezekit study DATA -o row --model {network} --seed 0".split(), *words])
        + f" --only {seed}",
        "dtype": "int8" if factors.get("quantize") else "float32",
        "file_bytes": size,
        "bytes": {"file": size, "graph": 1274, "tables": 900, "weights": size - 2174},
        "times_smaller": (93_912_345 + seed) / size,
        "reference": "AlexNet, float",
        "parameters": parameters,
        "nonzero": nonzero,
        "nonzero_parameters": nonzero,
        "macs": 81_000_000,
        "activations": 413_974,
        "inference_uj": 1204.3,
        "images": IMAGES,
        "top1": top1,
        "top5": 0.99,
        "top1_interval": wilson(top1),
        "top5_interval": wilson(0.99),
        "macro_accuracy": sum(recalls.values()) / len(recalls),
        "per_class": recalls,
        "class_images": counts,
        "worst_class": {"label": worst, "recall": recalls[worst]},
        "validation_top1": top1 + 0.004,
        "predicted": predicted,
        "latency_ms": round(1.6 * (0.5 if network == SEPARABLE else 1.0) + 0.01 * seed, 3),
        "cold_start_ms": 90.0,
        "peak_memory_bytes": 40_000_000,
        "seconds": 4.2,
        "versions": {"python": "3.11.9", "keras": "3.15.1"},
        "machine": "Linux x86_64, 2 cores",
        **more,
    }


def rows():
    made = []
    for seed in SEEDS:
        made.append(row({}, seed, 93_912_345 + seed, latency_ms=12.2))
        for levels in itertools.product(*GRID.values()):
            factors = dict(zip(GRID, levels, strict=True))
            made.append(row(factors, seed, round(math.exp(log_bytes(factors, seed)))))
    return made


def common(stored):
    trainings = {}
    for each in stored:
        number = len(trainings)
        curve = [
            {"loss": 1.0, "val_accuracy": 0.86 - 0.3 * math.exp(-epoch / (2 + number % 3))}
            for epoch in range(12 if not each["recipe"] else 5)
        ]
        trainings[each["stage"]] = {
            "stage": each["stage"],
            "network": each["network"],
            "recipe": each["recipe"],
            "seed": each["seed"],
            "seconds": 300.0 + number,
            "energy": {"kwh": 0.004 + number / 1e6},
            "curves": curve,
            "reused": number == 3,
        }
    return {
        "command": "squeezekit study photos -o out --seeds 2",
        "started": "2026-03-02T14:05:11+00:00",
        "data": {
            "source": "photos",
            "fingerprint": "9f2c4be0",
            "labels": LABELS,
            "truth": TRUTH,
            "test_paths": [f"test/{LABELS[label]}/{image}.jpg" for image, label in enumerate(TRUTH)],
            "train": 7867,
            "validation": 874,
            "test": IMAGES,
        },
        "grid": GRID,
        "seeds": SEEDS,
        "settings": {"epochs": 24, "batch_size": 64, "learning_rate": 0.002, "optimizer": "adamw"},
        "compress_settings": {"epochs": 6},
        "trainings": list(trainings.values()),
        "energy": {"kwh": 0.41, "metered": False, "basis": ["processor: 45 W, a guess"]},
    }


def write(out, stored=None, shared=None):
    """Lay the store down in a folder as a study would."""
    out.mkdir(parents=True, exist_ok=True)
    stored = rows() if stored is None else stored
    (out / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in stored), "utf-8")
    (out / "study.json").write_text(json.dumps(common(stored) if shared is None else shared), "utf-8")
    return out
