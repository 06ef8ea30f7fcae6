"""What was signed for one dialect is good for no other, and what was signed for a login is good for no request.

Keys have one dialect, and no two keys of a store have one secret; here they have, in stores of their own, so that
nothing but the texts that are signed keeps the dialects apart. Where two venues sign the same text, nothing does:
`TWINS` names them, and what holds then is that a store refuses the second key.
"""

import base64
import itertools
from collections.abc import Iterator, Mapping

import pytest
from dialects.attacks import BY_NAME, HOST, NAMES, SECRET, Sample, ask, captured, guard_of, record_of, signed, signers
from dialects.logins import Login, logins
from dialects.readings import How, readings
from dialects.readings import read as read_fresh
from dialects.test_coverage import field_of, verifies
from support import NOW

from tradeguard.backends.memory import MemoryKeys
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.dialect import make_reader
from tradeguard.signing.encoding import SPELLINGS
from tradeguard.signing.material import Hmac
from tradeguard.signing.row import AuthParam, Header, Parameter, Place, Row
from tradeguard.signing.verifier import Verifier

ROWS = [name for name in NAMES if isinstance(BY_NAME[name], Row)]
HMACS = {name: next(one for one in BY_NAME[name].algorithms if one.startswith("hmac")) for name in ROWS}


# --- as it was sent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_captured_request_is_good_for_no_other_dialect(name: str) -> None:
    """Each of them, with its secret registered under every other row in turn."""
    tried = 0
    for sample in (*(one for one in captured() if one.dialect is BY_NAME[name]), signed(BY_NAME[name])):
        if not isinstance(sample.material, Hmac):
            continue
        for other in ROWS:
            if other != name:
                material = Hmac(sample.material.reveal(), HMACS[other])
                key = KeyRecord(
                    id=sample.key_id, dialect=other, material=material, scopes={"orders:*"}, networks=["127.0.0.0/8"],
                    passphrase=material.blind(sample.passphrase.encode()).hex(),
                )  # fmt: skip
                guard = guard_of(sample, dialects=(BY_NAME[other],), keys=MemoryKeys([key]))
                assert ask(guard, sample.request()), (sample, other)
                tried += 1
    assert tried or name == "coinbase-advanced"


# --- respelt for another dialect -----------------------------------------------------------------------------------

TWINS = {
    frozenset({"binance", "mexc"}): "the query, and nothing else",
    frozenset({"kucoin", "bitvavo"}): "time, method, target and body, in ms",
    frozenset({"kucoin", "bitget"}): "time, method, target and body, in ms",
    frozenset({"bitget", "bitvavo"}): "time, method, target and body, in ms",
}
"""Pairs of venues at which one text is a request of both, and why."""


def respell(sample: Sample, to: Row, mac: bytes) -> Iterator[Sample]:
    """The request as one of another row: its fields renamed, its MAC in the other spelling."""
    ours = sample.dialect
    assert isinstance(ours, Row)
    values: dict[str, bytes] = {"key": to.prefix.encode() + sample.key_id.encode()}
    for name in ("time", "nonce", "width"):
        place: Place | None = getattr(ours, name)
        values[name] = field_of(sample, place) if place is not None and name != "width" else b""
    spelt = SPELLINGS[to.algorithms[HMACS[to.name]]].encode(mac)
    path, _, query = sample.target.partition(b"?")
    if isinstance(ours.signature, Parameter):
        query = b"&".join(pair for pair in query.split(b"&") if not pair.startswith(ours.signature.name + b"="))
    for time in {values["time"] or values["nonce"], values["time"][:10], values["time"] + b"000"}:
        fields = {**values, "time": time, "nonce": values["nonce"] or time, "signature": spelt}
        target, auth = path + (b"?" + query if query else b""), []
        made = sample._replace(
            dialect=to, headers=tuple(pair for pair in sample.headers if pair[0] in (b"host", b"content-type"))
        )
        for what in ("key", "time", "nonce", "width", "signature"):
            place = getattr(to, what)
            if isinstance(place, Header) and (what != "width" or fields["width"]):
                made = made.having(place.name, fields[what])
            elif isinstance(place, AuthParam):
                auth.append(place.name + b"=" + fields[what])
            elif isinstance(place, Parameter) and what == "signature":
                value = spelt.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
                target += (b"&" if b"?" in target else b"?") + place.name + b"=" + value
        if auth:
            made = made.having(b"authorization", to.scheme + b" " + b",".join(auth))
        if to.passphrase is not None:
            made = made.having(to.passphrase.place.name, b"a passphrase")
        yield made._replace(target=target, body=sample.body)


def crossed(name: str, other: str) -> bool:
    """Whether some request of one dialect, respelt, verifies as one of another."""
    row = BY_NAME[other]
    assert isinstance(row, Row)
    for kind in ("read", "order"):
        for method in ("GET", "POST", "DELETE"):
            sample = signed(BY_NAME[name], kind)
            assert isinstance(sample.dialect, Row)
            request = sample.request()
            reader = Verifier(sample.dialect)
            request.authority, request.length = HOST.encode(), len(sample.body)
            claim = reader.claim(request)
            assert claim is not None
            found = reader.read(request, claim, sample.body)
            material = Hmac(SECRET, HMACS[other])
            for made in respell(sample, row, found.signature):
                one = made._replace(method=method, material=material)
                if verifies(make_reader(row), one) and read_fresh(row, one.request()):
                    return True
    return False


@pytest.mark.parametrize(
    ("name", "other"), [(a, b) for a, b in itertools.permutations(ROWS, 2) if HMACS[a] == HMACS[b]]
)
def test_a_request_that_is_respelt_for_another_dialect_is_refused_but_among_twins(name: str, other: str) -> None:
    assert crossed(name, other) <= (frozenset({name, other}) in TWINS)


@pytest.mark.parametrize("pair", TWINS, ids=lambda pair: " and ".join(sorted(pair)))
def test_twins_are_kept_apart_by_their_keys(pair: frozenset[str]) -> None:
    """One secret is one key, and one key has one dialect: a store takes no second, and a respelt request is refused."""
    one, two = sorted(pair)
    assert crossed(one, two) or crossed(two, one)
    first, second = (record_of(signed(BY_NAME[name])) for name in (one, two))
    with pytest.raises(ConfigError):
        MemoryKeys([first, second])
    sample = signed(BY_NAME[one])
    row = BY_NAME[two]
    assert isinstance(row, Row)
    for made in respell(sample, row, bytes(32)):
        guard = guard_of(sample, dialects=(BY_NAME[one], BY_NAME[two]))
        assert ask(guard, made.request())


# --- logins --------------------------------------------------------------------------------------------------------


def as_request(row: Row, text: bytes) -> Iterator[Sample]:
    """Every request of a row that would sign this text."""
    yield from as_parameters(row, text)
    if row.name == "htx" and text.startswith(b"GET\n"):
        _, host, path, query = text.split(b"\n")
        yield _made(row, "GET", path + b"?" + query + b"&Signature=SIG", b"").having(b"host", host)
    if row.name == "deribit" and text.count(b"\n") >= 2:
        time, nonce, rest = text.split(b"\n", 2)
        field = b"deri-hmac-sha256 id=KEY,ts=" + time + b",nonce=" + nonce + b",sig=SIG"
        method, _, target = rest.partition(b"\n")
        yield _made(row, method.decode() or "GET", target or b"/", b"").having(b"authorization", field)
    if row.name == "cryptocom" and text.startswith(b"public/auth"):
        for at in range(len(text)):
            if text[-13:].isdigit() and text[11:at].isdigit():
                body = b'{"id":"%b","method":"public/auth","params":{},"api_key":"KEY","nonce":"%b","sig":"SIG"}'
                made = _made(row, "POST", b"/exchange/v1/public/auth", body % (text[11:at], text[-13:]))
                yield made.having(b"content-type", b"application/json")
    if all(isinstance(place, Header) for place in row.places) and row.payload is None:
        how = How(row, lambda values: _fill(row, values).request(), {}, (row.prefix + "KEY").encode())
        for request in readings(how, text.replace(KEY, b"KEY")):
            yield Sample(
                row, "", "KEY", Hmac(SECRET, HMACS[row.name]), "", NOW, request.method, request.target,
                tuple(request.headers.raw), drive(request.body()),
            )  # fmt: skip


KEY = b"login-key"


def _fill(row: Row, values: Mapping[str, bytes]) -> Sample:
    path, query = values.get("path", b"/a"), values.get("query", b"")
    target = row.mount.encode() + path + (b"?" + query if query else b"")
    made = _made(row, values["method"].decode("latin-1"), target, values.get("body", b""))
    if "authority" in values:
        made = made.having(b"host", values["authority"])
    for what in ("time", "nonce", "width"):
        place = getattr(row, what)
        if isinstance(place, Header) and values.get(what):
            made = made.having(place.name, values[what])
    return made


def _made(row: Row, method: str, target: bytes, body: bytes) -> Sample:
    sample = Sample(
        row, row.name, "KEY", Hmac(SECRET, HMACS[row.name]), "", NOW, method, target, ((b"host", HOST.encode()),), body
    )
    for place, value in ((row.key, row.prefix.encode() + b"KEY"), (row.signature, b"SIG")):
        if isinstance(place, Header):
            sample = sample.having(place.name, value)
    return sample.having(row.passphrase.place.name, b"a passphrase") if row.passphrase is not None else sample


def as_parameters(row: Row, text: bytes) -> Iterator[Sample]:
    """A text as the query or the form of a row that signs those alone."""
    if isinstance(row.signature, Parameter) and row.name != "htx":
        mark = b"&" + row.signature.name + b"=SIG"
        for method in ("GET", "POST", "DELETE"):
            yield _made(row, method, b"/v1/orders?" + text + mark, b"")
            form = _made(row, method, b"/v1/orders", text + mark)
            yield form.having(b"content-type", b"application/x-www-form-urlencoded")


def finish(sample: Sample, login: Login) -> Sample:
    """Put key and MAC where they are meant to be."""
    row = sample.dialect
    assert isinstance(row, Row)
    spelt = SPELLINGS[row.algorithms[HMACS[row.name]]].encode(login.sign(SECRET))
    quoted = spelt.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")

    def put(text: bytes, signature: bytes) -> bytes:
        return text.replace(b"SIG", signature).replace(b"KEY", KEY)

    headers = tuple((name, put(value, spelt)) for name, value in sample.headers)
    if isinstance(row.signature, Header):
        headers = tuple((name, spelt if name == row.signature.name else value) for name, value in headers)
    return sample._replace(
        key_id=KEY.decode(), target=put(sample.target, quoted), headers=headers,
        body=put(sample.body, quoted if isinstance(row.signature, Parameter) else spelt),
    )  # fmt: skip


LOGIN_TWINS: Mapping[str, tuple[str, ...]] = {
    "bitget": ("okx", "coinbase-exchange", "bitvavo"), "bitvavo": ("okx", "coinbase-exchange", "bitget"),
    "coinbase-exchange": ("bitget",), "kucoin": ("okx", "coinbase-exchange", "bitget", "bitvavo"), "mexc": ("binance",),
    "mexc-contract": ("mexc-contract",),
}  # fmt: skip
"""By row: venues with a login whose text is a request of the row, so that one secret at both would be one too many.

MEXC Contract's own is there as well: it signs key and time alone, which is every request without parameters, for
neither method nor path is signed. Nothing can tell them apart; what helps is that orders have parameters."""


def check_logins(name: str) -> int:
    """Offer the logins of all venues to one row as requests; return how many requests that were."""
    row = BY_NAME[name]
    if not isinstance(row, Row):
        return _check_tokens()
    tried = 0
    for login in logins(KEY.decode(), HOST, NOW):
        if f"hmac-{login.hash}" != HMACS[name]:
            continue
        for sample in as_request(row, login.text):
            tried += 1
            made = finish(sample, login)
            if verifies(make_reader(row), made) and read_fresh(row, made.request()):
                assert login.venue in LOGIN_TWINS.get(name, ()), (login, made)
    return tried


def _check_tokens() -> int:
    """Coinbase's WebSocket takes a token without uri; no request does."""
    import json

    from tradeguard.signing.encoding import encode_base64url

    sample = signed(COINBASE_ADVANCED)
    head, claims, _ = sample.field(b"authorization")[7:].split(b".")
    document = json.loads(base64.urlsafe_b64decode(claims + b"=="))
    del document["uri"]
    text = head + b"." + encode_base64url(json.dumps(document).encode())
    signer, _ = signers(COINBASE_ADVANCED)
    token = text + b"." + encode_base64url(signer._sign(text))  # the right key
    assert ask(guard_of(sample), sample.having(b"authorization", b"Bearer " + token).request())
    return 1


@pytest.mark.parametrize("name", NAMES)
def test_no_login_of_any_venue_is_a_request(name: str) -> None:
    tried = check_logins(name)
    print(name, tried)


def test_no_request_is_a_login() -> None:
    """The texts of real requests are none of the logins that one could compose for the same moment."""
    for sample in (*captured(), *(signed(BY_NAME[name], kind) for name in ROWS for kind in ("read", "order"))):
        row = sample.dialect
        if not isinstance(row, Row) or not isinstance(sample.material, Hmac):
            continue
        request = sample.request()
        found = read_fresh(row, request)
        assert found is not None
        for moment in (found.signed_at, found.signed_at + row.lifetime, sample.at):
            for login in logins(sample.key_id, HOST, moment):
                if login.venue == row.name == "mexc-contract":
                    continue  # see LOGIN_TWINS
                assert login.text not in (found.message, *found.others)


def test_logins_are_found_where_a_row_does_not_know_them() -> None:
    """The measure of the above: without their rules some rows take a login for a request."""
    from dataclasses import replace

    found, known = set[str](), set[str]()
    for name in ROWS:
        row = BY_NAME[name]
        assert isinstance(row, Row)
        if not row.logins and not row.foreign:
            continue
        known.add(name)
        loose = replace(row, logins=frozenset(), foreign=frozenset())
        for login in logins(KEY.decode(), HOST, NOW):
            if f"hmac-{login.hash}" == HMACS[name]:
                for sample in as_request(loose, login.text):
                    made = finish(sample, login)._replace(dialect=loose)
                    if verifies(make_reader(loose), made):
                        found.add(name)
    assert found == known
