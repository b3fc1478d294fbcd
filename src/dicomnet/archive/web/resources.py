"""Which study, series or instance a path names."""

from __future__ import annotations

from starlette.requests import Request

from ...datasets.levels import Level
from ...encoding.identity import is_uid
from ...values import frozen
from .problems import Problem

ROOT = "/dicom-web"
"""Where the services of DICOMweb are."""


@frozen
class Reference:
    """A resource of PS3.18 section 10.1: a study, a series of it, or an instance of that.

    Parameters
    ----------
    study, series, instance
        UIDs; None below the level of the resource, all of them None for the whole archive.
    """

    study: str | None = None
    series: str | None = None
    instance: str | None = None

    @property
    def level(self) -> Level | None:
        """Its level; None of the whole archive."""
        if self.instance is not None:
            return Level.IMAGE
        if self.series is not None:
            return Level.SERIES
        return None if self.study is None else Level.STUDY

    @property
    def path(self) -> str:
        """Its path relative to the service, such as ``/studies/1.2/series/3.4``."""
        parts = (("studies", self.study), ("series", self.series), ("instances", self.instance))
        return "".join(f"/{name}/{uid}" for name, uid in parts if uid is not None)


def reference_of(request: Request) -> Reference:
    """The resource that the path of a request names by ``{study}``, ``{series}`` and ``{instance}``.

    Raises
    ------
    Problem
        With status 400 if one of them is not a UID.
    """
    found = {name: request.path_params.get(name) for name in ("study", "series", "instance")}
    for name, uid in found.items():
        if uid is not None and not is_uid(uid):
            raise Problem(400, f"the {name} in the path is not a UID, which is digits and dots, 64 at most")
    return Reference(**found)


def base_url(request: Request) -> str:
    """The URL of the service, as the client knows it."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}{ROOT}"
