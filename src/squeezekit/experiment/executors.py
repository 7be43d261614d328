"""Executors: who trains the stages. We do not schedule; an executor runs tasks in dependency order."""

import abc
import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any

from squeezekit.training import Progress

__all__ = ["Executor", "InProcess", "Task", "require_order"]


@dataclasses.dataclass(frozen=True)
class Task:
    """Work that depends on nothing but its arguments and the tasks that it needs.

    Args:
        name: unique among the tasks of a run.
        function: of a module, so that another process finds it by name; called as
            `function(*arguments, progress=...)`. Done twice it must leave the same as done once.
        arguments: values that can be pickled.
        needs: names of tasks that must be done before.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()


def require_order(tasks: Sequence[Task]) -> None:
    """Refuse tasks of which one comes before another that it needs.

    Raises:
        ValueError: there is such a task.
    """
    later = {task.name for task in tasks}
    for task in tasks:
        if later.intersection(task.needs):
            raise ValueError(f"Expected every task after those that it needs. Received: {task.name} early.")
        later.remove(task.name)


class Executor(abc.ABC):
    """Runs tasks."""

    alone: bool = True
    """False if other tasks may be running while a result is taken: then it is no time to measure time."""

    @abc.abstractmethod
    def run(self, tasks: Sequence[Task], progress: Progress) -> Generator[tuple[str, Any], None, None]:
        """Run tasks, each after those that it needs, and yield (name, result) of each as it ends.

        Closed before the end, it stops what is running.

        Args:
            tasks: each after those that it needs; a need that is not among them counts as done.
            progress: for what runs in this process.

        Raises:
            Exception: what a task raised.
        """


class InProcess(Executor):
    """One task after another, in this process.

    Example:
        >>> def add(a, b, progress):
        ...     return a + b
        >>> tasks = [Task("three", add, (1, 2)), Task("nine", add, (4, 5), needs=("three",))]
        >>> dict(InProcess().run(tasks, Progress(enabled=False)))
        {'three': 3, 'nine': 9}
    """

    def run(self, tasks: Sequence[Task], progress: Progress) -> Generator[tuple[str, Any], None, None]:
        """See `Executor`."""
        require_order(tasks)
        for task in tasks:
            yield task.name, task.function(*task.arguments, progress=progress)
