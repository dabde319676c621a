"""What `tierbus audit` takes for a million calls in each format: seconds, rows a second, and the memory of all its processes.

`python -m tests.bench.audit [NAME …]` writes each log into a folder of its own, runs the command as a person does, and
removes the log. `AUDIT_ROWS` sets another number of rows. The limits are those of two free cores; a busy machine takes longer.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.audit_logs import COLUMNS, ROWS, WRITERS, write

LIMIT_S = 60.0
LIMIT_MB = 500.0
_LOOK_S = 0.05
_MB = 1_000_000


class Measured(NamedTuple):
    """One run: seconds on the clock and of the cores, and the most memory that its processes had together, in bytes."""

    seconds: float
    cpu_s: float
    peak: int
    code: int


def measure(log: Path) -> Measured:
    """Run the command on a log and watch it."""
    options = ["--columns", COLUMNS] if log.name == "table.csv" else []
    command = [sys.executable, "-m", "tierbus.cli.entry", "audit", str(log), *options]
    begun, peak, before = time.monotonic(), 0, resource.getrusage(resource.RUSAGE_CHILDREN)
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, _memory(process))
        time.sleep(_LOOK_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(time.monotonic() - begun, cpu_s, peak, process.returncode)


def _memory(process: psutil.Process) -> int:
    """Resident bytes of a process and its children; shared pages count once for each, so this is too high rather than too low."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total


def main(names: list[str], rows: int) -> int:
    """Measure each format; not 0 when one is over a limit."""
    over = 0
    print(f"{rows:,} rows each; limits {LIMIT_S:.0f} s and {LIMIT_MB:.0f} MB; load before: {os.getloadavg()[0]:.1f}")
    print(f"{'log':<18}{'MB':>8}{'seconds':>10}{'core s':>10}{'rows/s':>10}{'peak MB':>10}")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="tierbus-audit-") as folder:
            log = write(name, Path(folder), rows)
            found = measure(log)
            size = log.stat().st_size
        bad = found.seconds > LIMIT_S or found.peak > LIMIT_MB * _MB or found.code != 0
        over += bad
        verdict = f"  over (exit {found.code})" if bad else ""
        print(
            f"{name:<18}{size / _MB:>8,.0f}{found.seconds:>10.1f}{found.cpu_s:>10.1f}{rows / found.seconds:>10,.0f}{found.peak / _MB:>10.0f}{verdict}",
            flush=True,
        )
    return over


if __name__ == "__main__":
    wished = [name for name in WRITERS if not sys.argv[1:] or name in sys.argv[1:]]
    raise SystemExit(min(1, main(wished, int(os.environ.get("AUDIT_ROWS", ROWS)))))
