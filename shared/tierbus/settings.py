"""Every setting of a process, read once from `TIERBUS_*` environment variables."""

from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tierbus.contracts import explain
from tierbus.errors import Misconfigured
from tierbus.telemetry.content import Capture


class Settings(BaseSettings):
    """What an operator may set. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix="TIERBUS_", extra="ignore", frozen=True)

    nats_url: str = "nats://127.0.0.1:4222"
    """Where the bus is; several addresses by comma."""
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_creds: str | None = None
    """Path of a NATS credentials file."""
    nats_replicas: int = Field(default=1, ge=1, le=5)
    """Copies of every stream: 1 on a laptop, 3 in production."""

    tiers: str = "default"
    """A tier file that comes with Tierbus, or the path of your own."""
    classes: str | None = None
    """Path of a YAML file that says what is allowed with tasks of a class."""
    policy: str | None = None
    """A policy file, or a folder of `tierbus train`: its current policy starts and reviews tasks of the classes it knows."""
    sim_url: str | None = None
    """Address of a `sim` model server; every provider is then spoken to there. Unset: the real providers."""

    slots: int = Field(default=16, ge=1, le=1024)
    """Messages a process works on at a time, per consumer of high or normal priority (low: a quarter)."""
    drain_s: float = Field(default=300.0, gt=0)
    """How long a stopping process waits for work that has begun."""
    call_timeout_s: float = Field(default=240.0, gt=0)
    """The longest one model call may take; a model's own limit in the tier file may be shorter."""
    classify_below: float = Field(default=0.6, ge=0, le=1)
    """The router asks a small model only when its rules are less sure than this."""

    join_traces: bool = False
    """A task's trace goes on under its caller's `traceparent` instead of being linked to it."""
    capture: Capture = Capture.REASONS
    """What spans may say of a task's own words: none, reasons (why something was decided), content (messages too)."""
    budgets: str = ""
    """Dollars a month that tenants mean to spend, for gauges and alerts: `acme=500,*=2000`; * is all together."""

    health_host: str = "127.0.0.1"
    health_port: int = Field(default=8080, ge=0, le=65535)
    """Port of /livez, /readyz and /metrics; 0 takes a free one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "pretty"] = "auto"
    """`auto` is pretty on a terminal and JSON elsewhere."""

    @classmethod
    def read(cls) -> "Settings":
        """Read the environment.

        Raises:
            Misconfigured: a value does not fit; the text names the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            lines = [f"TIERBUS_{name.upper()}:{rest}" for name, rest in (line.split(":", 1) for line in explain(error))]
            raise Misconfigured("; ".join(lines)) from None

    @field_validator("budgets")
    @classmethod
    def _readable(cls, value: str) -> str:
        _budgets(value)
        return value

    @property
    def monthly_usd(self) -> dict[str, float]:
        """The budgets by tenant."""
        return _budgets(self.budgets)

    @property
    def servers(self) -> list[str]:
        """The bus addresses."""
        return [address.strip() for address in self.nats_url.split(",") if address.strip()]


def _budgets(text: str) -> dict[str, float]:
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        tenant, _, dollars = part.partition("=")
        try:
            found[tenant.strip()] = float(dollars)
        except ValueError:
            raise ValueError(f"{part!r} is not tenant=dollars") from None
        if not tenant.strip() or not 0 < found[tenant.strip()] < float("inf"):
            raise ValueError(f"{part!r} is not tenant=dollars")
    return found
