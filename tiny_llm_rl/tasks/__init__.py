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


def make(name: str, difficulty: tuple[int, ...] = (), *, graded: bool = False) -> Task:
    """The task of a name.

    Args:
        name: one of `TASKS`, or "gym:" and the name of a dataset of reasoning-gym.
        difficulty: the sizes that the task draws from (numbers of terms or digits); empty takes the task's own.
        graded: graded rewards, for reasoning-gym.

    Raises:
        ValueError: for an unknown name or sizes out of range.

    >>> make("digit-sum", (4,)).prompt_slots
    8
    """
    if name.startswith("gym:"):
        return ReasoningGym(name[4:], graded=graded)
    chosen = TASKS[choice("task", name, (*TASKS, "gym:DATASET"))]
    task: Task = chosen(difficulty) if difficulty else chosen()
    return task
