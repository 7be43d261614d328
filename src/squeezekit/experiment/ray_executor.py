"""Stages as Ray tasks, on this machine's cores or on a cluster that is running. Needs `squeezekit[ray]`."""

import contextlib
import io
import logging
import os
import platform
import signal
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import ray
import ray.exceptions

import squeezekit
from squeezekit.experiment.executors import Executor, Task, require_order
from squeezekit.experiment.record import describe_machine
from squeezekit.training import Progress

__all__ = ["RayExecutor"]

# Tasks travel with their arguments and give back a record: little, while Ray would take a third of the memory.
_OBJECT_STORE_BYTES = 128 << 20
# How long a task may take to put its files in order once it is cancelled, before its worker is killed: enough for a
# worker on a busy machine, which sees that it is cancelled only after the training step that it is in.
_FAREWELL_SECONDS = 30
# Between two looks at what the running tasks say.
_LOOK_AGAIN = 2


class RayExecutor(Executor):
    """Tasks on a Ray cluster, each as soon as what it needs is done and CPUs are free.

    A task whose worker dies is run again. What it works on must be in folders that all machines see under the same
    path. Not for measuring time: other tasks may be running, so rows wait until all stages are trained.

    Args:
        address: "local" starts Ray on this machine for the time of a run, "auto" finds a cluster that runs here,
            "HOST:PORT" one elsewhere. Without effect where the caller has called `ray.init`.
        cpus: CPUs, and TensorFlow's threads, of each task. Results are the same to the bit where threads are as many.
        retries: how often a task is run again after its worker died.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> RayExecutor(cpus=2).alone
        False
    """

    alone = False

    def __init__(self, address: str = "local", *, cpus: int = 1, retries: int = 3) -> None:
        for name, value, least in (("cpus", cpus, 1), ("retries", retries, 0)):
            if value < least:
                raise ValueError(f"Expected {name} >= {least}. Received: {name}={value}.")
        self.address = address
        self.cpus = cpus
        self.retries = retries

    def run(self, tasks: Sequence[Task], progress: Progress) -> Generator[tuple[str, Any], None, None]:
        """See `Executor`.

        Raises:
            ConnectionError: no cluster answers at the address.
            ChildProcessError: a task's worker died more often than `retries`.
            ValueError: no node has so many CPUs, or a worker has other versions.
        """
        if not tasks:
            return
        with _connected(self.address):
            _require_cpus(self.cpus)
            board = _new_board() if progress.enabled else None
            # Name of each task that is not done, by what stands for its result.
            pending: dict[Any, str] = {}
            try:
                self._submit(tasks, board, pending)
                while pending:
                    ready, _ = ray.wait(list(pending), timeout=_LOOK_AGAIN if board else None)
                    for reference in ready:
                        result = _result(reference, pending[reference])
                        yield pending.pop(reference), result
                    if board is not None and pending:
                        note = "; ".join(_lines(board, pending.values()))
                        progress.update("stages", len(tasks) - len(pending), len(tasks), note)
            finally:
                _cancel(list(pending))

    def _submit(self, tasks: Sequence[Task], board: Any, pending: dict[Any, str]) -> None:
        """Hand all to Ray, which starts each when the results that it is given are there."""
        require_order(tasks)
        references: dict[str, Any] = {}
        remote = ray.remote(_work).options(num_cpus=self.cpus, max_retries=self.retries)
        versions = _versions()
        for task in tasks:
            needed = [references[name] for name in task.needs if name in references]
            reference = remote.remote(
                task.name, task.function, task.arguments, self.cpus, versions, board, *needed
            )
            references[task.name] = reference
            pending[reference] = task.name


def _work(
    name: str,
    function: Any,
    arguments: tuple[Any, ...],
    threads: int,
    versions: Mapping[str, str],
    board: Any,
    *needed: Any,
) -> Any:
    """Run a task in a worker; that `needed` is there has had Ray wait for it."""
    # Ray interrupts a task that is cancelled as Ctrl-C does, and nothing happens where that is ignored: in every
    # process below a shell's background job, which long studies are.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # TensorFlow reads them when it makes its first tensor, which no import does.
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[variable] = str(threads)
    for package, version in _versions().items():
        if version != versions.get(package):
            raise ValueError(
                f"{platform.node()} has {package} {version}, the study {versions.get(package, 'none')}: "
                "install the same on every machine of the cluster."
            )
    stream = _Line(board, name) if board is not None else io.StringIO()
    return function(*arguments, progress=Progress(stream, enabled=board is not None))


class _Line(io.StringIO):
    """Where a worker's progress goes: to the board, the latest line only."""

    def __init__(self, board: Any, name: str) -> None:
        super().__init__()
        self._board = board
        self._name = name

    def write(self, text: str) -> int:
        """Nobody waits for it to arrive."""
        self._board.write.remote(self._name, text.strip())
        return len(text)


def _new_board() -> Any:
    """An actor that keeps the latest line of each task."""

    # In here, so that it travels as it is and its process need not import TensorFlow.
    class Board:
        def __init__(self) -> None:
            self.lines: dict[str, str] = {}

        def write(self, name: str, line: str) -> None:
            self.lines[name] = line

        def read(self) -> dict[str, str]:
            return self.lines

    return ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()


def _lines(board: Any, names: Iterable[str]) -> list[str]:
    """What the running tasks say; nothing where the board is slow or just died with its node."""
    try:
        lines = ray.get(board.read.remote(), timeout=_LOOK_AGAIN)
    except ray.exceptions.RayError:
        return []
    return [lines[name] for name in names if name in lines]


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Be connected to a cluster; one that the caller is connected to already stays as it is."""
    if ray.is_initialized():
        yield
        return
    # A cluster that we start reports to nobody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES} if address == "local" else {}
    )
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **own)
    # Of no narrower kind: a machine too busy to start Ray in half a minute gets a plain Exception.
    except Exception as error:
        ray.shutdown()
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConnectionError(f"no connection to Ray at {address!r}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_cpus(cpus: int) -> None:
    """Refuse what Ray would wait for without end."""
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    # None at all: a cluster that starts its machines on demand.
    if 0 < largest < cpus:
        raise ValueError(
            f"Expected a machine with the {cpus} CPUs of a stage. Received: {largest:.0f} on the largest."
        )


def _result(reference: Any, name: str) -> Any:
    """What a task returned, or what it raised as if it had been raised here."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ChildProcessError(
            f"a worker died again and again ({reason} Task {name}). "
            "Run the same command again: it goes on where it was."
        ) from error


def _cancel(references: list[Any]) -> None:
    """Stop what is waiting or running, gently first."""
    with contextlib.suppress(ray.exceptions.RayError):
        for reference in references:
            ray.cancel(reference)
        if references:
            _, running = ray.wait(references, num_returns=len(references), timeout=_FAREWELL_SECONDS)
            for reference in running:
                ray.cancel(reference, force=True)


def _versions() -> dict[str, str]:
    """What must be the same on all machines for results to be; Ray itself looks after Python."""
    installed = describe_machine()["versions"]
    own = {"squeezekit": squeezekit.__version__, "the Keras backend": keras.backend.backend()}
    return {**own, **{name: version for name, version in installed.items() if name != "python"}}
