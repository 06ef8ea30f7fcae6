"""Django: the guard as one middleware, first in MIDDLEWARE; the app brings system checks and `manage.py tradeguard`.

    INSTALLED_APPS = ["tradeguard.adapters.django", ...]
    MIDDLEWARE = ["tradeguard.adapters.django.guard", ...]
    TRADEGUARD = {"config": "tradeguard.toml"}

A view finds `request.principal` and `request.grant`.
"""

from tradeguard.adapters.django.middleware import guard as guard
