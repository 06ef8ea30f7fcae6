"""Judge in the shadow: a custom check that is being tried out. It decides and reports, and never refuses."""

import logging

from tradeguard.core.decision import Denial, Refused
from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import Check
from tradeguard.core.request import Request

_log = logging.getLogger("tradeguard")


class Shadow:
    """Runs a judge of the host's own without obeying it: what it denies is an event of kind `shadow`, and in the grant.

    Args:
        check: the judge. The library's own checks decide for real, or are left out by name.

    Raises:
        ConfigError: it is no judge, or one of the library's.
    """

    def __init__(self, check: Check) -> None:
        if isinstance(check, type) or not isinstance(check, Check):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"Shadow({check!r}): it takes an object with __call__, a judge")
        if any(kind.__module__.startswith("tradeguard.checks.") for kind in type(check).__mro__):
            raise ConfigError(f"{type(check).__name__} decides for real; only checks of your own stand in the shadow")
        self.name = f"shadow of {type(check).__name__}"
        self._check = check

    async def __call__(self, request: Request, /) -> Denial | None:
        """Ask the check, keep what it denies, and return None."""
        try:
            denial = await self._check(request)
        except Refused as refused:
            denial = refused.denial
        except Exception:
            _log.exception("%s failed; it refuses nothing", self.name)
            return None
        if denial is not None:
            request.shadow.append(denial)
        return None
