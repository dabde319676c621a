"""A whole Tierbus with a real small model on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.flow.conftest import Lab

from tierbus.cli.stack import Stack

PATIENCE_S = 600.0
"""A busy machine makes a few tokens a second."""


@pytest.fixture(scope="module")
def local_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = Path(tmp_path_factory.mktemp("local"))
    with (folder / "log").open("w") as log, Stack(data=folder, models="local", logs=log) as stack:
        yield Lab(stack)
