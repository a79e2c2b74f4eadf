"""What all tests share: nothing here may use the network."""

from __future__ import annotations

import socket
from typing import Any

import pytest

_REFUSED = (socket.AF_INET, socket.AF_INET6)


class _Refused(socket.socket):
    """A socket that only connects processes of this machine, as asyncio and multiprocessing need them."""

    def __init__(self, family: int = -1, *rest: Any, **named: Any) -> None:
        # A socket made of an open descriptor has the family of that.
        if family in _REFUSED or (family == -1 and not rest and "fileno" not in named):
            raise RuntimeError("a test uses the network")
        super().__init__(family, *rest, **named)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", _Refused)
