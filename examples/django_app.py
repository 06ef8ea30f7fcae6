"""Django in one file, guarded by a middleware. PORT=8000 python examples/django_app.py"""

import os
import secrets
from typing import Any

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.urls import path

import tradeguard as tg

SECRET = os.environ.get("API_SECRET") or secrets.token_hex(32)
PORT = int(os.environ.get("PORT", "8000"))

keys = tg.MemoryKeys([tg.KeyRecord(id="demo", dialect="tg1", material=tg.Hmac(SECRET), scopes={"orders:read"})])
guard = tg.Guard(
    [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
    operations=tg.Operations({"GET /orders": "orders:read"}),
    state=tg.Memory(),
    journal=tg.MemoryJournal(),
)


def list_orders(request: Any) -> JsonResponse:
    """List the orders of the key that was proved."""
    return JsonResponse({"account": request.principal.account, "orders": []})


urlpatterns = [path("orders", list_orders)]
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    INSTALLED_APPS=["tradeguard.adapters.django"],
    MIDDLEWARE=["tradeguard.adapters.django.guard", "django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(32),
    TRADEGUARD={"guard": guard},
)

if __name__ == "__main__":
    print(
        f"API_KEY=demo API_SECRET={SECRET} python examples/tg1_client.py GET http://127.0.0.1:{PORT}/orders", flush=True
    )
    execute_from_command_line(["manage.py", "runserver", "--noreload", f"127.0.0.1:{PORT}"])
