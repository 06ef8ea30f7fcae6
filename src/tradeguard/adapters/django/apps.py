"""The app: with it come the system checks and the management command."""

from importlib import import_module

from django.apps import AppConfig


class TradeguardConfig(AppConfig):
    """What INSTALLED_APPS names as "tradeguard.adapters.django"."""

    name = "tradeguard.adapters.django"
    label = "tradeguard"

    def ready(self) -> None:
        """Register the system checks."""
        import_module("tradeguard.adapters.django.checks")
