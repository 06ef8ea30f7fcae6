"""The operations map against FastAPI's router: whatever handler it reaches, the map asks for its row."""

import asyncio
from urllib.parse import quote

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from routing import BRACES, HEADS, LITERALS, SINGLE, STICKS, Rows, compare, mounted, run_asgi, split, template

from tradeguard.core.errors import ConfigError


def add(router: APIRouter | FastAPI, row: str, *, below: int) -> None:
    method, segments = split(row)

    async def endpoint() -> PlainTextResponse:
        return PlainTextResponse(headers={"row": quote(row)})

    router.add_api_route(template(segments[below:], ":path"), endpoint, methods=[method])


def make_app(rows: Rows, mount: str | None, how: str) -> FastAPI:
    """`how` the rows below the mount point are added: as a router with a prefix, or as an application of their own."""
    app = FastAPI(openapi_url=None)
    below, above = mounted(rows, mount) if mount else ([], list(rows))
    part = APIRouter(prefix=f"/{mount}") if how == "router" else FastAPI(openapi_url=None)
    for row in below:
        add(part, row, below=1)
    if isinstance(part, APIRouter):
        app.include_router(part)
    elif mount:
        app.mount(f"/{mount}", part)
    for row in above:
        add(app, row, below=0)
    return app


SETTINGS = [
    (None, "router", "", ""),
    ("m", "router", "/api", ""),
    ("v1", "mount", "", "/outer"),
    ("m", "mount", "/api/v2", "/v1"),
]
each_setting = pytest.mark.parametrize(("mount", "how", "root", "outer"), SETTINGS)


def check(mount: str | None, how: str, root: str, outer: str, tables: int) -> None:
    compare(
        lambda rows, targets: asyncio.run(run_asgi(make_app(rows, mount, how), rows, targets, root=root, outer=outer)),
        f"fastapi {mount} {how} {root} {outer}",
        literals=[*LITERALS, "é", "\u2028x", '"<^>|`'],
        methods=["GET", "GET", "POST", "HEAD"],
        sticks=STICKS + BRACES,
        tables=tables,
    )


@each_setting
def test_the_map_and_the_router_of_fastapi_agree(mount: str | None, how: str, root: str, outer: str) -> None:
    check(mount, how, root, outer, 2)


@pytest.mark.soak
@each_setting
def test_the_map_and_the_router_of_fastapi_agree_on_many_targets(
    mount: str | None, how: str, root: str, outer: str
) -> None:
    check(mount, how, root, outer, 25)


@pytest.mark.parametrize("name", SINGLE)
def test_fastapi_agrees_on_a_single_target(name: str) -> None:
    rows, method, target = SINGLE[name]
    tally = asyncio.run(run_asgi(make_app(rows, None, "router"), rows, [(method, target, False)], root=""))
    assert tally.counts["reached"] == 1
    assert not tally.wrong


def test_rows_of_which_fastapi_would_give_head_to_another_than_the_map_does_are_no_map() -> None:
    with pytest.raises(ConfigError, match="routers do not agree which of them answers HEAD"):
        asyncio.run(run_asgi(make_app(HEADS, None, "router"), HEADS, [("HEAD", b"/v1/7", False)], root=""))
