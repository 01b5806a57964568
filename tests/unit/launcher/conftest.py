"""One control plane and one API server for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from launcher_site import LauncherSite


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LauncherSite]:
    """What all tests of a module share."""
    site = LauncherSite(tmp_path_factory.mktemp("launcher"))
    yield site
    site.close()


@pytest.fixture
def site(shared_site: LauncherSite) -> Iterator[LauncherSite]:
    """The same without a job, and with nothing but the template in the cluster."""
    shared_site.api.reset()
    shared_site.api.store(shared_site.template())
    yield shared_site
    shared_site.end_jobs()
