"""What is wrong with recorded answers or a policy, as one line and the exit code that says who must act."""

from collections.abc import Callable
from typing import TypeVar

from tierbus.cli.output import Exit, fail
from tierbus.errors import Misconfigured, TierbusError
from tierbus.replay.errors import BadRecords, Unplayable

T = TypeVar("T")


def refused(work: Callable[[], T]) -> T:
    """Do the work; errors of ours become one line and an exit code."""
    try:
        return work()
    except BadRecords as error:
        fail(str(error), Exit.REJECTED)
    except Unplayable as error:
        fail(str(error), Exit.USAGE)
    except Misconfigured as error:
        fail(str(error), Exit.MISCONFIGURED)
    except TierbusError as error:
        fail(str(error), Exit.NOT_SUCCEEDED)
