"""MediaPipe's ImageClassifier, with its own preprocessing, against our runtime on the same files.

    python benchmarks/mediapipe_agreement.py zoo/intel.sqz PHOTOS

Run it with a Python that has `mediapipe` and squeezekit's light dependencies. MediaPipe takes labels and input from the
standard metadata in the `.tflite`. These cannot describe a crop: MediaPipe squashes the whole picture to the input, our
runtime takes the centre, so some answers differ.
"""

import argparse
import json
import tempfile
from pathlib import Path

import mediapipe
import numpy as np
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

from squeezekit import codec, runtime
from squeezekit.imaging import open_rgb


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="A .sqz file.")
    parser.add_argument("photos", type=Path, help="A folder of images.")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ours = runtime.load(options.model)
    paths = runtime.folder_images(options.photos)
    # From all of the folder, not from its first class alone.
    paths = paths[:: max(1, len(paths) // options.images)][: options.images]
    with tempfile.TemporaryDirectory() as folder:
        tflite = Path(folder, "model.tflite")
        tflite.write_bytes(codec.unpack(options.model.read_bytes()))
        settings = vision.ImageClassifierOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(tflite)), max_results=1
        )
        theirs = vision.ImageClassifier.create_from_options(settings)
        same, gaps = 0, []
        for path in paths:
            pixels = np.ascontiguousarray(open_rgb(path))
            picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            found = theirs.classify(picture).classifications[0].categories[0]
            expected = ours.predict(path)
            same += found.category_name == expected.label
            gaps.append(abs(found.score - expected.probability))
        # Without it the process hangs at its end.
        theirs.close()
    result = {
        "images": len(paths),
        "same_label": same,
        "median_gap": float(np.median(gaps)),
        "largest_gap": float(np.max(gaps)),
        "mediapipe": mediapipe.__version__,
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"{same} of {len(paths)} images get the same label; probabilities differ by {result['median_gap']:.3f} "
            f"(median), {result['largest_gap']:.3f} at most; MediaPipe {mediapipe.__version__}"
        )


if __name__ == "__main__":
    main()
