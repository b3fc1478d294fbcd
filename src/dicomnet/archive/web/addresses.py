"""The address of the service as the client knows it."""

from __future__ import annotations

from starlette.requests import Request

_DEFAULT_PORTS = {"http": 80, "https": 443}
# What a proxy adds, behind which the port may be another one.
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "via")


def base_url(request: Request) -> str:
    """The URL of the service, without a slash at the end.

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
    return f"{scheme}://{host}{request.scope['root_path']}"
