"""Errors say who must act; `bus.acks` maps each class to what happens to the message."""


class TierbusError(Exception):
    """Base of every error of ours."""


class Rejected(TierbusError):
    """The sender must change the message: it goes to the dead letters and is not tried again.

    Args:
        reasons: one sentence each, with the value that is wrong.
        reason_code: one lower-case word for the dead-letter subject.
    """

    def __init__(self, *reasons: str, reason_code: str = "rejected") -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        self.reason_code = reason_code


class Malformed(Rejected):
    """The bytes are not a message of the expected kind."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons, reason_code="malformed")


class UnknownVersion(Rejected):
    """A schema version that this release does not read."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons, reason_code="version")


class Unavailable(TierbusError):
    """Nobody must act: something we depend on is away; the message is delivered again after `delay_s`."""

    def __init__(self, what: str, delay_s: float = 2.0) -> None:
        super().__init__(what)
        self.delay_s = delay_s


class Conflict(TierbusError):
    """Another worker wrote first; read again and apply again."""


class Misconfigured(TierbusError):
    """The operator must change a setting, a tier file or the bus; the text says which."""


class OverBudget(TierbusError):
    """The task's budget cannot pay the next call."""


class Cancelled(TierbusError):
    """The run has ended while this work was under way; its calls are settled, its output is not wanted."""
