"""Closing a call: one record ends it, whoever comes first, and that one is told."""

from tierbus.contracts import CallRecorded
from tierbus.llm.model import Question, Reply
from tierbus.stores import Ledger
from tierbus.telemetry.watch import Watch


async def close(
    ledger: Ledger, watch: Watch, record: CallRecorded, question: Question | None = None, reply: Reply | None = None
) -> CallRecorded:
    """Say how a call ended, and tell of it if that is what stands; returns the record that stands.

    Raises:
        Unavailable: the ledger did not answer.
    """
    if await ledger.close(record):
        watch.closed(record, question, reply)
        return record
    return await ledger.last(record) or record
