"""Plain: whether parameters that are signed without separators can be told apart again.

Crypto.com signs {"price":"5","quantity":"1"} as price5quantity1, and so would {"price":"5quantity1"} be, or
{"pric":"e5","quantity":1}. So in the text of all parameters the names of the venue's parameters stand where these
begin, and nowhere else: of all sets of parameters with one text, those that are accepted have the same of them. Nothing
is empty, and texts in a list of several are words in capitals, of which no part is another.

What is not told apart: a parameter with a name of nobody's from the value before it, a number from a text, and which
object of a list a parameter belongs to.
"""

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, cast

from tradeguard.signing.message import flat

_NAMES: Final = [
    "account_id",
    "address",
    "address_tag",
    "amount",
    "client_oid",
    "client_order_id",
    "client_wid",
    "contingency_type",
    "convert_id",
    "count",
    "currency",
    "depth",
    "end_time",
    "end_ts",
    "exec_inst",
    "fee_instrument_name",
    "from_instrument_name",
    "from_quantity",
    "instrument_name",
    "isolated_margin_amount",
    "isolation_id",
    "journal_type",
    "leverage",
    "limit",
    "list_id",
    "network_id",
    "new_price",
    "new_quantity",
    "notional",
    "order_id",
    "order_list",
    "orig_client_oid",
    "orig_order_id",
    "page",
    "page_size",
    "position_id",
    "price",
    "quantity",
    "ref_price",
    "ref_price_type",
    "side",
    "spot_margin",
    "start_time",
    "start_ts",
    "status",
    "stp_id",
    "stp_inst",
    "stp_scope",
    "sub_account_uuid",
    "time_in_force",
    "timeframe",
    "to_instrument_name",
    "to_quantity",
    "trade_id",
    "trigger_price",
    "trigger_price_type",
    "type",
]
"""Crypto.com Exchange API v1: the parameters of its private methods."""
_KNOWN: Final = frozenset(_NAMES)
_ANY: Final = re.compile("|".join(sorted(_NAMES, key=len, reverse=True)))
_OWN: Final = re.compile("[a-z_]+")
_WORD: Final = re.compile("[A-Z_]+")


def is_plain(parameters: Mapping[str, Any]) -> bool:
    """Tell whether parameters can be told apart again."""
    pieces = list[str]()
    names = list[int]()
    if parameters:
        _spread(parameters, pieces, names)
    if "" in pieces or not all(_OWN.fullmatch(pieces[place]) for place in names):
        return False
    begins = list(accumulate(map(len, pieces), initial=0))
    known = [(begins[place], pieces[place]) for place in names if pieces[place] in _KNOWN]
    return [(match.start(), match[0]) for match in _ANY.finditer("".join(pieces))] == known


def _spread(value: Any, pieces: list[str], names: list[int]) -> None:
    """Append what the text is made of, and which of that are names; an empty piece for something that is empty."""
    if isinstance(value, dict) and value:
        members = cast("dict[str, Any]", value)
        for name in sorted(members):
            names.append(len(pieces))
            pieces.append(name)
            _spread(members[name], pieces, names)
    elif isinstance(value, list) and value:
        items = cast("list[object]", value)
        for item in items:
            if len(items) < 2 or isinstance(item, dict) or _WORD.fullmatch(str(item)):
                _spread(item, pieces, names)
            else:
                pieces.append("")
    else:
        pieces.append(flat(value))
