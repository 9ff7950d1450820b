"""The Dagster page answers its own pages only: a foreign Host (DNS rebinding) or Origin (another site) is refused."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from assets.webserver import OwnPagesOnly


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def greet(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route("/", hello, methods=["GET", "POST"]), WebSocketRoute("/socket", greet)])
    return TestClient(OwnPagesOnly(app, port=3000), base_url="http://127.0.0.1:3000")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:3000"}, 200),
        ({"origin": "http://127.0.0.1:3000"}, 200),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8888"}, 403),
        ({"host": "elsewhere.example:3000"}, 403),
        ({"host": "127.0.0.1"}, 403),
    ],
)
def test_foreign_hosts_and_origins_are_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/", headers=headers).status_code == status


def test_sockets_are_guarded_too(client: TestClient) -> None:
    with client.websocket_connect("ws://127.0.0.1:3000/socket", headers={"origin": "http://localhost:3000"}) as socket:
        assert socket.receive_text() == "hello"
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://127.0.0.1:3000/socket", headers={"origin": "https://elsewhere.example"}),
    ):
        pass
