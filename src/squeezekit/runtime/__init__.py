"""The device side: open a `.sqz` or `.tflite`, label images. NumPy, Pillow and LiteRT only."""

from squeezekit.runtime.bench import bench
from squeezekit.runtime.bundle import bundle
from squeezekit.runtime.contents import Contents, parse_labels, read_contents
from squeezekit.runtime.evaluation import Evaluation, Outcome, evaluate, evaluate_files, evaluate_images
from squeezekit.runtime.footprint import Footprint, footprint
from squeezekit.runtime.frames import Frame, camera_frames, folder_images, stream_frames, watched_files
from squeezekit.runtime.latency import latencies, latency_ms, ratio
from squeezekit.runtime.model import Model, Prediction, load
from squeezekit.runtime.network import Network

__all__ = [
    "Contents",
    "Evaluation",
    "Footprint",
    "Frame",
    "Model",
    "Network",
    "Outcome",
    "Prediction",
    "bench",
    "bundle",
    "camera_frames",
    "evaluate",
    "evaluate_files",
    "evaluate_images",
    "folder_images",
    "footprint",
    "latencies",
    "latency_ms",
    "load",
    "parse_labels",
    "ratio",
    "read_contents",
    "stream_frames",
    "watched_files",
]
