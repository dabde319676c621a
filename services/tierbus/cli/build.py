"""Putting a service together: its stores from the bus, its models from the tier file, its settings."""

import asyncio
import contextlib
import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
import uvloop

from tierbus.batch.lot import Entry
from tierbus.bus.app import Bus
from tierbus.bus.app import serve as serve_until_stopped
from tierbus.bus.pilots import JetPilots
from tierbus.bus.tallies import JetTallies
from tierbus.cache.key import setup_of
from tierbus.cache.reuse import Sharing
from tierbus.classes import Classes
from tierbus.classes import load as load_classes
from tierbus.contracts import Message, Tier
from tierbus.errors import Misconfigured
from tierbus.executor.app import Executor
from tierbus.executor.interrupts import Interrupts
from tierbus.executor.waiting import Waiting
from tierbus.ledger.batch_desk import BatchDesk, Stores
from tierbus.ledger.desk import Desk
from tierbus.llm.model import Question
from tierbus.llm.registry import Connected, Models, connect
from tierbus.loops import end
from tierbus.pilot.pilots import Pilots
from tierbus.planner.app import Planner
from tierbus.planner.reuse import Reuse
from tierbus.plans.library import Library
from tierbus.policy.advisor import Advisor
from tierbus.policy.looks import with_reviewer
from tierbus.policy.store import Stored
from tierbus.policy.store import stored as stored_policy
from tierbus.pricing.cost import warm
from tierbus.reviewer.app import Reviewer
from tierbus.reviewer.ladder import Ladder
from tierbus.reviewer.quality import QualityWatch
from tierbus.router.app import Router
from tierbus.run import Run
from tierbus.runs import Runs
from tierbus.service import Service
from tierbus.settings import Settings
from tierbus.tallies import SharedPolicy
from tierbus.telemetry import logs, names
from tierbus.telemetry.meters import OtelMeters
from tierbus.telemetry.names import Attr
from tierbus.telemetry.process import Telemetry, telemetry
from tierbus.telemetry.watch import Watch
from tierbus.tiers.catalog import Catalog, ModelSpec, load

log = structlog.get_logger(__name__)

MISCONFIGURED = 6
SERVICES = ("router", "planner", "executor", "reviewer")
ADVISED = ("router", "reviewer")
"""The services that decide by the learned policy."""


ASKS: dict[str, tuple[Tier, ...]] = {
    "router": (),
    "planner": (Tier.FRONTIER,),
    "executor": tuple(Tier),
    "reviewer": (Tier.SMALL, Tier.MID),
}
"""The tiers that a service asks in most of its work; the router asks seldom, so its SDKs are loaded when it does."""


class _Warmer:
    """Loads provider SDKs beside the service's start, so that the first task does not wait for them."""

    def __init__(self, models: Models, specs: list[ModelSpec]) -> None:
        self._models = models
        self._specs = specs
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        for spec in self._specs:
            try:
                await self._models.of(spec).ready()
            except Misconfigured as error:
                log.warning("models.not_ready", model=spec.id, error=str(error))
        _give_back_memory()

    async def stop(self) -> None:
        if self._task is not None:
            await end(self._task)


GARBAGE_OBJECTS = 25_000
"""New objects before the collector looks for cycles. Python's 700 suit a program with little in flight: here what waits to be
told or acknowledged lives for half a second, and looking at it over and over took 2 % of a small task's time."""


def _give_back_memory() -> None:
    """Return what start-up freed to the system: reading the price data alone leaves 15 MB (glibc only, else nothing)."""
    gc.collect()
    gc.freeze()  # modules and price data live as long as the process: the collector need not look at them again
    gc.set_threshold(GARBAGE_OBJECTS, 10, 10)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def builder(name: str, settings: Settings, told: Telemetry) -> Callable[[Bus], Service]:
    """How the named service is built once there is a bus.

    Raises:
        Misconfigured: there is no such service, or its tier file or classes file does not fit.
    """
    if name not in SERVICES:
        raise Misconfigured(f"unknown service {name!r}; there are {', '.join(SERVICES)}")
    catalog = load(settings.tiers)
    classes = load_classes(settings.classes)
    found = stored_policy(Path(settings.policy)) if settings.policy else None
    if found is not None:
        Advisor.of(found.policy, catalog)  # refused before there is a bus

    def build(bus: Bus) -> Service:
        warm([spec for specs in catalog.tiers.values() for spec in specs])
        models = connect(catalog, sim_url=settings.sim_url, environ=os.environ)
        runs = Runs(
            bus.runs,
            bus.ledger,
            bus.publisher.announce_closing,
            watch=told.watch,
            followers=bus.answers.followers,
        )
        desk = Desk(catalog, models, bus.ledger, bus.outputs, settings.call_timeout_s, told.watch)
        _measure(told.meters, desk, settings)
        if name == "reviewer":
            _measure_watch(told.meters, classes)
        pilots = Pilots(JetPilots(bus.publisher, bus.nc), classes, told.meters)
        shared = _shared(found, name, bus, catalog, told) if found is not None and name in ADVISED else None
        advisor = Advisor.of(shared, catalog) if shared is not None else None
        service = _service(name, bus, runs, desk, catalog, settings, classes, models, pilots, advisor, told.watch)
        warmer = _Warmer(models, [catalog.tiers[tier][0] for tier in ASKS[name]])
        if shared is not None:
            service = replace(
                service, on_start=(*service.on_start, shared.start), on_stop=(*service.on_stop, shared.stop)
            )
        return replace(
            service,
            on_start=(*service.on_start, warmer.start),
            on_stop=(*service.on_stop, desk.settle_all, warmer.stop, models.close),
        )

    return build


def _shared(found: Stored, name: str, bus: Bus, catalog: Catalog, told: Telemetry) -> SharedPolicy:
    """The learned policy beside this catalog's reviewer, its counts shared over the bus; reviewers keep them."""
    policy = with_reviewer(found.policy.fresh(), catalog, time.time)
    tallies = JetTallies(bus.publisher, bus.nc)
    return SharedPolicy(policy, found.digest, tallies, keeps=name == "reviewer", meters=told.meters)


def _measure(meters: OtelMeters, desk: Desk, settings: Settings) -> None:
    """Limits and how much of them is used; a budget is watched, not enforced."""
    meters.reserve(settings.monthly_usd)
    meters.watch(names.RATE_LIMIT, desk.gates.limits)
    meters.watch(names.RATE_USED, desk.gates.used)
    budgets = [
        (dollars, {Attr.TENANT: tenant, Attr.WINDOW: "month"}) for tenant, dollars in settings.monthly_usd.items()
    ]
    meters.watch(names.BUDGET_LIMIT, lambda: budgets)


def _measure_watch(meters: OtelMeters, classes: Classes) -> None:
    """What the quality watch of each class may spend on the tasks of a day."""
    caps = [
        (float(rules.watch.max_usd_per_day), {Attr.CLASS: name})
        for name, rules in classes.classes.items()
        if rules.watch is not None
    ]
    meters.watch(names.QUALITY_CAP, lambda: caps)


def _waiting(bus: Bus, models: Connected, catalog: Catalog, classes: Classes, watch: Watch) -> Waiting:
    """The batch lane: its desk asks what the lane says is asked."""

    async def ask(run: Run, entry: Entry) -> Question:
        return await waiting.ask(run, entry)

    async def say(messages: Sequence[Message]) -> None:
        await bus.publisher.say(*messages)

    stores = Stores(bus.runs, bus.lots, bus.ledger, bus.outputs)
    desk = BatchDesk(catalog, models, stores, ask, say, watch)
    waiting = Waiting(bus.lots, bus.texts, desk, catalog, classes, say)
    return waiting


def _service(
    name: str,
    bus: Bus,
    runs: Runs,
    desk: Desk,
    catalog: Catalog,
    settings: Settings,
    classes: Classes,
    models: Connected,
    pilots: Pilots,
    advisor: Advisor | None,
    watch: Watch,
) -> Service:
    match name:
        case "router":
            return Router(
                runs,
                bus.texts,
                desk,
                catalog,
                settings.classify_below,
                join_traces=settings.join_traces,
                classes=classes,
                reuse=Sharing(runs, bus.answers, setup_of(catalog)),
                pilots=pilots,
                advisor=advisor,
            ).service()
        case "planner":
            return Planner(runs, bus.texts, desk, catalog, Reuse(Library(bus.shelves, watch), classes)).service()
        case "executor":
            interrupts = Interrupts()
            waiting = _waiting(bus, models, catalog, classes, watch)
            executor = Executor(runs, bus.texts, desk, catalog, bus.publisher.say, interrupts, waiting)
            return replace(executor.service(), on_start=(lambda: bus.on_closing(interrupts.stop),))
        case _:
            quality = QualityWatch(runs, bus.texts, desk, catalog, bus.ledger, bus.measures, classes, watch)
            ladder = Ladder(bus.texts, desk, catalog, advisor)
            return Reviewer(runs, ladder, quality, Sharing(runs, bus.answers), pilots).service()


def serve(name: str) -> int:
    """Run one service until it is told to stop; returns the exit code."""
    try:
        settings = Settings.read()
        logs.configure(name, level=settings.log_level, form=settings.log_format)
        told = telemetry(name, settings.capture, os.environ)
        build = builder(name, settings, told)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_until_stopped(name, build, settings, told))
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        return MISCONFIGURED
    return 0
