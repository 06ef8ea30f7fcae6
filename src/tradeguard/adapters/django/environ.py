"""A request of Django as PEP 3333 has it, for the synchronous form of the guard."""

from django.http import HttpRequest

from tradeguard.adapters.asgi import Scope
from tradeguard.adapters.wsgi import Environ


def environ_of(request: HttpRequest) -> Environ:
    """Return the request as PEP 3333 has it: Django has decoded the paths, and under ASGI made the rest itself."""
    environ: Environ = {**request.META, "PATH_INFO": _spell(request.path_info)}
    environ["SCRIPT_NAME"] = _spell(request.META.get("SCRIPT_NAME", ""))
    scope: Scope | None = getattr(request, "scope", None)
    if scope is None:
        return environ
    query, path = scope.get("query_string", b""), scope.get("raw_path")
    if path is not None:
        environ["RAW_URI"] = (path + b"?" + query if query else path).decode("latin-1")
    environ |= {"wsgi.url_scheme": request.scheme, "wsgi.input": request._stream, "wsgi.input_terminated": True}
    environ["SERVER_PROTOCOL"] = f"HTTP/{scope.get('http_version', '1.1')}"
    if (scope.get("client") or ("", 0))[1] == 0:  # a unix socket, or rewritten by the server
        environ["REMOTE_ADDR"] = ""
    return environ


def _spell(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("latin-1")
