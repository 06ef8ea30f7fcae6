"""What can go wrong with tradeguard itself, as opposed to what it refuses (that is a `Denial`)."""


class TradeguardError(Exception):
    """The common ancestor: catch this to catch everything the library raises at its own fault or the operator's."""


class ConfigError(TradeguardError):
    """The configuration is wrong; raised while building, and the text says what to change."""


class KeyConflict(ConfigError):
    """A key cannot be stored as it is: its id or its secret is taken, or it has been changed meanwhile."""


class Tampered(TradeguardError):
    """Something stored does not verify: it was changed, brought back, or moved from another place."""


class BackendDown(TradeguardError):
    """A port cannot answer now.

    Args:
        reason: what happened, for the operator.
        unknown: the request may have taken effect in the backend although no answer came.
    """

    def __init__(self, reason: str, *, unknown: bool = False) -> None:
        super().__init__(reason)
        self.unknown = unknown


class Suspended(TradeguardError):
    """Something waited on an event loop in a host that has none (see `tradeguard.core.drive`)."""
