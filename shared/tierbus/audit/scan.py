"""Reading many logs at once: this process cuts them into pieces, others count, and the tallies are merged.

Memory is bounded by pieces under way, not by file sizes. A file that cannot be read is named and the next one is read.
"""

import gc
import multiprocessing as mp
import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

from tierbus.audit.call import Unreadable
from tierbus.audit.detect import Format, Layout, detect
from tierbus.audit.pieces import Piece, Source, pieces
from tierbus.audit.readers.columns import Columns
from tierbus.audit.rows import count
from tierbus.audit.tally import Known, Tally
from tierbus.errors import Unavailable

ALONE_BYTES = 8 << 20
"""Less than this is read here: starting others takes longer."""
MOST_PROCESSES = 4
_WAIT_S = 1.0
_GC_AFTER = 200_000
"""Rows are trees that go by reference count; looking for cycles in them again and again is a tenth of the time."""
_AHEAD = 2
"""Pieces that wait for each process."""


class Wanted(NamedTuple):
    """How the person says the logs are to be read: None finds it out for each file."""

    format: Format | None = None
    columns: Columns | None = None


class FileRead(NamedTuple):
    """A file as it was taken: its layout, or why it could not be read, or not to its end."""

    path: Path
    bytes: int
    layout: Layout | None
    trouble: str


Progress = Callable[[Path, int], None]
"""Is told the file and how many more of its bytes on disk were read."""


def scan(
    paths: Sequence[Path], known: Known, wanted: Wanted | None = None, told: Progress | None = None
) -> tuple[Tally, list[FileRead]]:
    """Count the calls of all files.

    Raises:
        Unavailable: a process that counts was ended from outside.
    """
    files: list[FileRead] = []
    cut = _cut(paths, wanted or Wanted(), files, told or (lambda _path, _bytes: None))
    if sum(_size(path) for path in paths) < ALONE_BYTES:
        tally = Tally(known)
        for piece in cut:
            count(piece, tally)
        return tally.handed_over(), files
    return _spread(cut, known), files


def _size(path: Path) -> int:
    """Bytes to read, about: gzip packs logs to a tenth."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    return 10 * size if path.suffix == ".gz" else size


def _cut(paths: Sequence[Path], wanted: Wanted, files: list[FileRead], told: Progress) -> Iterator[Piece]:
    for number, path in enumerate(paths):
        layout, trouble, size = None, "", 0
        try:
            size = path.stat().st_size
            source = Source(path)
        except OSError as error:
            files.append(FileRead(path, size, None, f"cannot be opened: {error.strerror}"))
            continue
        try:
            head = source.begin()
            layout = detect(head, complete=source.complete, wanted=wanted.format, columns=wanted.columns)
            before = 0
            for piece in pieces(number, source, layout):
                yield piece
                told(path, source.position - before)
                before = source.position
        except Unreadable as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"cannot be read: {error.strerror}"
        finally:
            source.close()
        files.append(FileRead(path, size, layout, trouble))


def _spread(cut: Iterator[Piece], known: Known) -> Tally:
    context = mp.get_context("spawn")
    number = max(1, min(MOST_PROCESSES, os.cpu_count() or 1))
    work: Queue[Piece | None] = context.Queue(_AHEAD * number)
    done: Queue[Tally] = context.Queue()
    processes = [context.Process(target=_counting, args=(work, done, known), daemon=True) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        for piece in cut:
            _put(work, piece, processes)
        for _ in processes:
            _put(work, None, processes)
        merged = _get(done, processes)
        for _ in range(number - 1):
            merged.merge(_get(done, processes))
        for process in processes:
            process.join()
        return merged
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        work.cancel_join_thread()


def _put(work: "Queue[Piece | None]", piece: Piece | None, processes: Sequence[SpawnProcess]) -> None:
    while True:
        with suppress(queue.Full):
            work.put(piece, timeout=_WAIT_S)
            return
        _refuse_dead(processes)


def _get(done: "Queue[Tally]", processes: Sequence[SpawnProcess]) -> Tally:
    while True:
        with suppress(queue.Empty):
            return done.get(timeout=_WAIT_S)
        _refuse_dead(processes)


def _refuse_dead(processes: Sequence[SpawnProcess]) -> None:
    codes = [process.exitcode for process in processes if process.exitcode]
    if codes:
        raise Unavailable(f"a process that counts the calls ended with {codes[0]}: memory may be short")


def _counting(work: "Queue[Piece | None]", done: "Queue[Tally]", known: Known) -> None:
    """What a counting process does; the parent decides about interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(_GC_AFTER, 20, 100)
    tally = Tally(known)
    while (piece := work.get()) is not None:
        count(piece, tally)
    done.put(tally.handed_over())
