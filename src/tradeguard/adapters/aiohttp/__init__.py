"""aiohttp.web: the guard around an application and its sub-applications, and a check that both mean the same route.

    Tradeguard(config="tradeguard.toml").init_app(app)

A handler finds `request[PRINCIPAL]` and `request[GRANT]`; the guard is `app[GUARD]`.
"""

from tradeguard.core.errors import ConfigError

try:
    from tradeguard.adapters.aiohttp.middleware import GRANT as GRANT
    from tradeguard.adapters.aiohttp.middleware import GUARD as GUARD
    from tradeguard.adapters.aiohttp.middleware import PRINCIPAL as PRINCIPAL
    from tradeguard.adapters.aiohttp.middleware import Tradeguard as Tradeguard
    from tradeguard.adapters.aiohttp.middleware import aiohttp_middleware as aiohttp_middleware
except ModuleNotFoundError as error:
    raise ConfigError('this adapter needs aiohttp: pip install "tradeguard[aiohttp]"') from error
