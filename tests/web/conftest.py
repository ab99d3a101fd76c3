"""Fixtures of the page's tests: a server with an account for each role, shared by the tests that leave it as it was."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "agent"))

from browser import Browser, browser
from page_line import Line, page_line
from served import Served, served
from small_bundle import write_bundle


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed bundle, shared by all tests: none may change it."""
    folder = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(folder)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path: a Unix socket's path in it must stay under 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="k"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def fresh(folder: Path, small_bundle: Path) -> Iterator[Served]:
    """A page that nobody has been at."""
    with served(folder, small_bundle) as page:
        yield page


@pytest.fixture(scope="module")
def page(small_bundle: Path) -> Iterator[Served]:
    """A page with accounts."""
    made = Path(tempfile.mkdtemp(prefix="k"))
    with served(made, small_bundle) as one:
        one.make_accounts()
        yield one
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def running_line(small_bundle: Path) -> Iterator[Line]:
    """A line with its page and a browser, shared by all tests: they leave it running."""
    with page_line(small_bundle) as one:
        yield one


@pytest.fixture
def line(running_line: Line) -> Iterator[Line]:
    """The shared one, without the tabs of the test before."""
    yield running_line
    running_line.browser.close_tabs()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(autouse=True)
def _closed_tabs(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "opened" in request.fixturenames:
        request.getfixturevalue("opened").close_tabs()
