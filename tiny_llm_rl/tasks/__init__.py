"""Tasks with programmatic verifiers, behind one protocol (`Task`), by name (`make`)."""

from typing import Any, Final

from tiny_llm_rl._checks import choice
from tiny_llm_rl.tasks._base import HELD_OUT as HELD_OUT
from tiny_llm_rl.tasks._base import Task as Task
from tiny_llm_rl.tasks._base import held_out as held_out
from tiny_llm_rl.tasks.arithmetic import Addition as Addition
from tiny_llm_rl.tasks.arithmetic import Multiplication as Multiplication
from tiny_llm_rl.tasks.countdown import Countdown as Countdown
from tiny_llm_rl.tasks.digit_sum import DigitSum as DigitSum
from tiny_llm_rl.tasks.gym import ReasoningGym as ReasoningGym

__all__ = [
    "HELD_OUT",
    "TASKS",
    "Addition",
    "Countdown",
    "DigitSum",
    "Multiplication",
    "ReasoningGym",
    "Task",
    "held_out",
    "make",
]

TASKS: Final[dict[str, type[Any]]] = {task.name: task for task in (DigitSum, Addition, Multiplication, Countdown)}


def make(name: str, difficulty: tuple[int, ...] = (), *, graded: bool = False, **gym: Any) -> Task:
    """The task of a name.

    Args:
        name: one of `TASKS`, or "gym:" and the name of a dataset of reasoning-gym.
        difficulty: the sizes that the task draws from (numbers of terms or digits); empty takes the task's own.
        graded: graded rewards, for reasoning-gym.
        gym: further arguments of `ReasoningGym`, for its datasets.

    Raises:
        ValueError: for an unknown name, sizes out of range, or an option that the task does not have.

    >>> make("digit-sum", (4,)).prompt_slots
    8
    """
    if name.startswith("gym:"):
        if difficulty:
            raise ValueError(f"difficulty={difficulty} is not for {name!r}, whose dataset has its own; leave it empty")
        return ReasoningGym(name[4:], graded=graded, **gym)
    chosen = TASKS[choice("task", name, (*TASKS, "gym:DATASET"))]
    if graded:
        raise ValueError(f"graded is for tasks of reasoning-gym, and {name!r} is none; leave it out")
    if gym:
        raise ValueError(f"{next(iter(gym))} is for tasks of reasoning-gym, and {name!r} is none; leave it out")
    task: Task = chosen(difficulty) if difficulty else chosen()
    return task
