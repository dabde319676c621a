"""Writing a call down: pure constructors of ledger records, with their prices."""

from decimal import Decimal

from tierbus.contracts import CallRecorded, CallStatus, Slot, Tier, Usage
from tierbus.pricing.cost import price
from tierbus.tiers.catalog import Catalog, ModelSpec

CHARS_PER_TOKEN = 4
"""Rough size of a token in characters of English text; estimates only, a finished call counts the provider's own."""


def tokens_of(text_chars: int) -> int:
    """Estimated tokens of a text of this many characters."""
    return -(-text_chars // CHARS_PER_TOKEN)


class Book:
    """Prices calls of one catalog; the baseline is the frontier tier's first model."""

    def __init__(self, catalog: Catalog) -> None:
        self._frontier = catalog.tiers[Tier.FRONTIER][0]
        self._providers = catalog.providers

    def _part(self, spec: ModelSpec, *, batch: bool) -> Decimal | None:
        return self._providers[spec.provider].batch_price_factor if batch else None

    def started(
        self,
        slot: Slot,
        n: int,
        tier: Tier,
        spec: ModelSpec,
        guess: Usage,
        at: float,
        asked_in: str | None = None,
        batch: str | None = None,
    ) -> CallRecorded:
        """An open call, charged by estimate until it is closed; `asked_in` is the span of its question, `batch` its batch."""
        cost = price(spec, guess, at, batch=self._part(spec, batch=batch is not None))
        return CallRecorded(
            call=f"{slot.id}.{n}",
            run=slot.run,
            tenant=slot.tenant,
            step=slot.step,
            attempt=slot.attempt,
            role=slot.role,
            tier=tier,
            provider=spec.provider,
            model=spec.id,
            status=CallStatus.STARTED,
            usage=guess,
            cost_nano_usd=cost.nano_usd,
            baseline_nano_usd=price(self._frontier, guess, at).nano_usd,
            estimated=True,
            price_source=cost.source,
            started_at=at,
            asked_in=asked_in,
            batch=batch is not None,
            batch_id=batch,
        )

    def finished(
        self,
        started: CallRecorded,
        spec: ModelSpec,
        usage: Usage,
        duration_s: float,
        *,
        request_id: str | None,
        stop_reason: str,
    ) -> CallRecorded:
        """A call that the provider answered, at its own token counts."""
        cost = price(spec, usage, started.started_at, duration_s, self._part(spec, batch=started.batch))
        return started.model_copy(
            update={
                "status": CallStatus.FINISHED,
                "usage": usage,
                "cost_nano_usd": cost.nano_usd,
                "baseline_nano_usd": price(self._frontier, usage, started.started_at).nano_usd,
                "estimated": False,
                "price_source": cost.source,
                "duration_s": duration_s,
                "request_id": request_id,
                "stop_reason": stop_reason,
            }
        )


def failed(
    started: CallRecorded, error: str, duration_s: float, request_id: str | None = None, error_type: str = "not-sent"
) -> CallRecorded:
    """A call that the provider turned away: it costs nothing."""
    return started.model_copy(
        update={
            "status": CallStatus.FAILED,
            "usage": Usage(),
            "cost_nano_usd": 0,
            "baseline_nano_usd": 0,
            "estimated": False,
            "duration_s": duration_s,
            "request_id": request_id,
            "error": error[:500],
            "error_type": error_type,
        }
    )


def interrupted(
    started: CallRecorded, error: str, duration_s: float = 0.0, error_type: str = "interrupted"
) -> CallRecorded:
    """A call whose answer nobody got: it may have been carried out, so it is charged by estimate and marked so."""
    return started.model_copy(
        update={
            "status": CallStatus.INTERRUPTED,
            "duration_s": duration_s,
            "error": error[:500],
            "error_type": error_type,
        }
    )


def orphaned(started: CallRecorded, error: str, error_type: str = "interrupted") -> CallRecorded:
    """An interrupted call whose asker did not live to tell of its question."""
    return interrupted(started, error, error_type=error_type).model_copy(update={"asked_in": None})
