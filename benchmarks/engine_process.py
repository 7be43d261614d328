"""One network in one engine, in a process of its own: what `engines.py` starts in each environment, not for people.

    python engine_process.py ENGINE MODEL          obeys lines on standard input: `time RUNS`, `answer IN.npy OUT.npy`
    python engine_process.py ENGINE MODEL --once   starts, answers once, tells what that took

Needs NumPy and the engine, nothing of squeezekit. Every engine gets one thread and float32 arithmetic where the network
has it; what is timed is: input set, network run, output read, the input already of the type that the network takes.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np  # noqa: E402 (the time that it takes counts)

MODULES = {
    "LiteRT": "ai_edge_litert.interpreter",
    "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino",
    "ncnn": "ncnn",
}

Opened = tuple[tuple[int, ...], np.dtype, Callable[[np.ndarray], np.ndarray]]


def litert(module, path: str) -> Opened:
    interpreter = module.Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    entry, exit_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(values: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(entry["index"], values)
        interpreter.invoke()
        return interpreter.get_tensor(exit_["index"])

    return tuple(map(int, entry["shape"])), np.dtype(entry["dtype"]), run


def onnxruntime(module, path: str) -> Opened:
    options = module.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    kind = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}[entry.type]
    return tuple(entry.shape), np.dtype(kind), lambda values: session.run(None, {entry.name: values})[0]


def openvino(module, path: str) -> Opened:
    # On a processor with bfloat16 it would compute in that by default: another network than the others run.
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = module.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()

    def run(values: np.ndarray) -> np.ndarray:
        request.infer([values], share_inputs=True)
        return request.get_output_tensor().data.copy()

    entry = compiled.inputs[0]
    return tuple(entry.shape), np.dtype(entry.element_type.to_dtype()), run


def ncnn(module, path: str) -> Opened:
    net = module.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(path) or net.load_model(str(Path(path).with_suffix(".bin"))):
        raise ValueError("ncnn cannot load it")
    # Its files do not say how large the input is.
    shape = tuple(json.loads(Path(path).with_suffix(".shape").read_text("ascii")))

    def run(values: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", module.Mat(values[0]))
        return np.array(extractor.extract("out0")[1])[np.newaxis]

    return shape, np.dtype(np.float32), run


OPENERS = {"LiteRT": litert, "ONNX Runtime": onnxruntime, "OpenVINO": openvino, "ncnn": ncnn}


def main() -> None:
    engine, path, *rest = sys.argv[1:]
    module = importlib.import_module(MODULES[engine])
    imported = time.perf_counter()
    shape, kind, run = OPENERS[engine](module, path)
    opened = time.perf_counter()
    picture = fed(np.random.default_rng(0).integers(0, 256, shape, np.uint8), kind)
    run(picture)
    answered = time.perf_counter()
    if rest:
        parts = {"import": imported - STARTED, "open": opened - imported, "first": answered - opened}
        found = {name: 1000 * seconds for name, seconds in parts.items()}
        tell({**found, "cpu": 1000 * time.process_time(), "peak_rss_bytes": peak_rss_bytes()})
        return
    tell({"ready": True})
    for line in sys.stdin:
        order, *words = json.loads(line)
        if order == "time":
            tell(timed(run, picture, *words))
        else:
            source, target = words
            answers = [run(fed(pixels[np.newaxis], kind)) for pixels in np.load(source)]
            np.save(target, probabilities(np.concatenate(answers)))
            tell({"done": True})


def timed(run: Callable[[np.ndarray], np.ndarray], picture: np.ndarray, runs: int) -> dict:
    """Milliseconds by the clock, run for run, and of the processor, on average."""
    run(picture)  # another process ran meanwhile: the first has its caches to fill
    walls = []
    before = time.process_time()
    for _ in range(runs):
        start = time.perf_counter()
        run(picture)
        walls.append(1000 * (time.perf_counter() - start))
    return {"wall": walls, "cpu": 1000 * (time.process_time() - before) / runs}


def fed(pixels: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Pixels as the network's type; signed bytes are shifted to begin at -128."""
    return (pixels ^ np.uint8(128)).view(np.int8) if kind == np.int8 else pixels.astype(kind)


def probabilities(answers: np.ndarray) -> np.ndarray:
    """In [0, 1], (images, classes): what integer networks give is in steps of 1/256."""
    shift = {np.dtype(np.uint8): 0, np.dtype(np.int8): 128}.get(answers.dtype)
    return answers if shift is None else (answers.astype(np.float32) + shift) / 256


def peak_rss_bytes() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def tell(answer: dict) -> None:
    # Engines print, too: only lines with this mark are answers.
    print(f"@{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main()
