"""`python -m assets.webserver PORT`: Dagster's pages, on this machine only and for its own pages only.

Dagster's server answers whoever names it, so a page of another site could start runs through a browser on this machine. Here
every route, the GraphQL socket included, refuses a request whose Host or Origin is not this server.
"""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
CODE_LOCATION = "assets.definitions"


class OwnPagesOnly:
    """Answers 403 unless Host, and Origin where there is one, name this server on the loopback."""

    def __init__(self, app: ASGIApp, *, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}".encode() for name in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._is_own(scope["headers"]):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})  # before it is accepted, so a 403 too
                return
            await PlainTextResponse("This server answers its own pages only.\n", status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_own(self, headers: list[tuple[bytes, bytes]]) -> bool:
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        own_origins = {b"http://" + host for host in self._hosts}
        return len(hosts) == 1 and hosts[0] in self._hosts and all(origin in own_origins for origin in origins)


class GuardedWebserver(DagsterWebserver):  # type: ignore[type-arg]
    """Dagster's server behind the guard."""

    def __init__(self, context: WorkspaceProcessContext, *, port: int) -> None:
        self._port = port
        super().__init__(context)

    def build_middleware(self) -> list[Middleware]:
        return [Middleware(OwnPagesOnly, port=self._port), *super().build_middleware()]


def main(port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    target = ModuleTarget(
        module_name=CODE_LOCATION,
        attribute=None,
        working_directory=str(Path.cwd()),
        location_name=CODE_LOCATION,
    )
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, version=__version__, workspace_load_target=target) as context,
    ):
        uvicorn.run(
            GuardedWebserver(context, port=port).create_asgi_app(),
            host=HOST,
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=3,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
