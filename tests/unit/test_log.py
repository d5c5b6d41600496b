"""Records go to a private file, never to the screen, and a folder that fails stays silent."""

from __future__ import annotations

import logging
import stat

import pytest

from chatrwkv.log import LogFile
from chatrwkv.paths import Paths


@pytest.fixture
def paths(tmp_path):
    return Paths(*(tmp_path / name for name in ("config", "data", "state", "cache")))


@pytest.fixture
def logger(paths):
    logger = logging.getLogger("under test")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = LogFile(paths)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    handler.close()


def test_nothing_is_made_before_there_is_something_to_say(logger, paths):
    logger.debug("too quiet for the file")
    assert not paths.state_dir.exists()


def test_a_record_lands_in_a_private_file(logger, paths, capfd):
    logger.error("the disk said %s", "no")
    assert "ERROR under test: the disk said no" in paths.log_file.read_text(encoding="utf-8")
    assert stat.S_IMODE(paths.log_file.stat().st_mode) == 0o600
    assert capfd.readouterr() == ("", "")


def test_the_file_stays_small(logger, paths):
    for _ in range(300):
        logger.error("x" * 10_000)
    sizes = [f.stat().st_size for f in paths.state_dir.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 1_000_000


def test_a_folder_that_cannot_be_made_is_no_news(logger, paths, capfd):
    paths.state_dir.write_text("a file where the folder should be", encoding="utf-8")
    logger.error("lost")
    logger.error("%d is no number", "this")
    assert capfd.readouterr() == ("", "")
