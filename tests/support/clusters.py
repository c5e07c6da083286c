"""Clusters of Dask on this machine, for tests."""

from __future__ import annotations

from typing import Any


def local_cluster(**options: Any) -> Any:
    """Return a cluster whose pages, which nobody looks at, are on a port that is free: there may be others here."""
    from distributed import LocalCluster

    return LocalCluster(dashboard_address=":0", scheduler_kwargs={"dashboard": False}, **options)
