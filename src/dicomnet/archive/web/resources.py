"""Which study, series or instance a path names."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Scope

from ...datasets.levels import Level
from ...encoding.identity import is_uid
from ...values import frozen
from .http.problems import Problem

ROOT = "/dicom-web"
"""Where the services of DICOMweb are."""

PATHS = (
    "/studies/{study}",
    "/studies/{study}/series/{series}",
    "/studies/{study}/series/{series}/instances/{instance}",
)
"""The addresses of studies, series and instances, relative to that."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
# What a proxy adds, behind which the port may be another one.
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "via")


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


def is_dicomweb(scope: Scope) -> bool:
    """Whether a request is one of DICOMweb, and not for a page."""
    path: str = scope["path"]
    return path == ROOT or path.startswith(f"{ROOT}/")


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
    """The URL of the service, without a slash at the end."""
    return origin_of(request) + ROOT


def origin_of(request: Request) -> str:
    """The URL of the server, without a slash at the end.

    Some clients, such as dicomweb-client, leave the port out of the header Host. It is added where nothing tells that a
    proxy is between, since what they ask for next would go to another server.
    """
    scheme, host = request.url.scheme, request.headers.get("host", "")
    server = request.scope.get("server")
    if not host and server is not None:
        host = str(server[0])
    has_port = ":" in host.rpartition("]")[2]
    if (
        server is not None
        and server[1]
        and not has_port
        and not any(name in request.headers for name in _OF_PROXIES)
    ):
        port = server[1]
        if port != _DEFAULT_PORTS.get(scheme):
            host = f"{host}:{port}"
    return f"{scheme}://{host}"
