"""System checks: `manage.py check`, and with `--deploy` what matters in production. Silence one by its id."""

from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from tradeguard.adapters.django.setting import read_setting
from tradeguard.core.errors import TradeguardError

_GUARD: Final = "tradeguard.adapters.django.guard"


@register(Tags.security)
def check_guard(**_: Any) -> list[CheckMessage]:
    """Is everything behind the guard, and can the guard be built?"""
    return [*_check_place(), *_check_setting()]


@register(Tags.security, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """Does Django believe what a client could have written, or say what the guard says already?"""
    return list(_check_deployment())


def _check_place() -> Iterator[CheckMessage]:
    middleware = list(settings.MIDDLEWARE)
    if _GUARD not in middleware:
        yield Error(
            "The guard is not in MIDDLEWARE, so nothing is guarded.",
            hint=f"Put {_GUARD!r} first in MIDDLEWARE.",
            id="tradeguard.E001",
        )
    elif middleware[0] != _GUARD:
        yield Warning(
            f"{middleware[0]} stands before the guard: it sees, and may answer, what nobody has proved.",
            hint=f"Put {_GUARD!r} first in MIDDLEWARE.",
            id="tradeguard.W001",
        )
    if middleware.count(_GUARD) > 1:
        yield Error(
            "The guard is in MIDDLEWARE twice, so every request would be taken for a replay.",
            hint="Keep the first.",
            id="tradeguard.E002",
        )


def _check_setting() -> Iterator[CheckMessage]:
    try:
        table = read_setting()
        if "config" in table:
            from tradeguard.config import load_settings  # noqa: PLC0415 - needs pydantic, and a guard in code does not

            load_settings(None if table["config"] is True else table["config"])
    except TradeguardError as error:
        yield Error(str(error), hint="The server does not start with this.", id="tradeguard.E003")


def _check_deployment() -> Iterator[CheckMessage]:
    if settings.SECURE_PROXY_SSL_HEADER or settings.USE_X_FORWARDED_HOST or settings.USE_X_FORWARDED_PORT:
        yield Warning(
            "Django believes a forwarding header, whoever sends it; the guard goes by its own configuration.",
            hint="Tell the guard which proxies to trust, and let only them reach the server.",
            id="tradeguard.W002",
        )
    if settings.SECURE_HSTS_SECONDS:
        yield Warning(
            "SECURE_HSTS_SECONDS and the guard both say Strict-Transport-Security; what the guard says goes out.",
            hint="Say it in one place: SECURE_HSTS_SECONDS = 0, or silence this.",
            id="tradeguard.W003",
        )
    if "django.middleware.csrf.CsrfViewMiddleware" in settings.MIDDLEWARE:
        yield Warning(
            "CsrfViewMiddleware answers signed POST requests with 403, because API clients send no token.",
            hint="Mark API views with csrf_exempt, or leave the middleware out where no browser logs in.",
            id="tradeguard.W004",
        )
