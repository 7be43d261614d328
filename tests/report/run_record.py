"""A squeeze that nobody ran: the record of AlexNet, a float SqueezeNet and the file that ships."""

CLASSES = ["buildings", "forest", "glacier", "mountain", "sea", "street"]


def row(name="AlexNet, float", **figures):
    top1 = figures.get("top1", 0.8153)
    recalls = {}
    if isinstance(top1, float):
        recalls = {label: top1 - 0.05 + 0.02 * place for place, label in enumerate(CLASSES)}
    return {
        "name": name,
        "file": "alexnet.tflite",
        "parameters": 23_472_134,
        "nonzero_parameters": 23_472_134,
        "file_bytes": 93_912_345,
        "times_smaller": 1.0,
        "top1": top1,
        "top1_interval": [top1 - 0.02, top1 + 0.02] if recalls else None,
        "top5": 0.994,
        "per_class": recalls,
        "worst_class": {"label": "glacier", "recall": 0.756},
        "latency_ms": 12.21,
        "images": 1500,
        **figures,
    }


def rows():
    return [
        row(),
        row(
            "SqueezeNet 1.1, float",
            file="squeezenet.tflite",
            parameters=725_574,
            nonzero_parameters=725_574,
            file_bytes=2_914_368,
            times_smaller=32.2239,
            top1=0.8693,
            latency_ms=1.63,
        ),
        row(
            "SqueezeNet 1.1, squeezed",
            file="model.sqz",
            parameters=725_574,
            nonzero_parameters=148_210,
            file_bytes=203_412,
            times_smaller=461.685,
            top1=0.8587,
            worst_class={"label": "buildings", "recall": 0.784},
            latency_ms=1.89,
        ),
    ]


def run(**more):
    """The content of `run.json`."""
    epochs = [{"loss": 1.0, "val_accuracy": 0.6 + 0.02 * epoch} for epoch in range(10)]
    return {
        "command": "squeezekit squeeze photos -o out",
        "squeezekit": "0.1.0",
        "versions": {"python": "3.11.9", "keras": "3.15.1"},
        "started": "2026-03-02T14:05:11+00:00",
        "seconds": 9234.5,
        "data": {
            "source": "photos",
            "fingerprint": "9f2c4be0",
            "classes": CLASSES,
            "train": 7867,
            "validation": 874,
            "test": 1500,
            "skipped": [{"path": "train/sea/1.jpg", "reason": "unreadable image (truncated)"}],
        },
        "preprocess": {"height": 96, "width": 96},
        "settings": {"epochs": 24, "nested": {"a": [1, 2]}},
        "compress_settings": {"epochs": 6},
        "recipe": "prune(0.8) | share(bits=5) | quantize(bits=8)",
        "seed": 0,
        "reference": "AlexNet, float",
        "rows": rows(),
        "trainings": [
            {"name": "alexnet", "network": "alexnet", "recipe": "", "seed": 0, "curves": epochs},
            {"name": "prune(0.8)", "recipe": "prune(0.8)", "seed": 0, "curves": epochs[:4]},
            {"name": "quantize(bits=8)", "recipe": "quantize(bits=8)", "seed": 0, "curves": epochs[:1]},
        ],
        **more,
    }
