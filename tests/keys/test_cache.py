"""The cache, rule by rule of its head, with a clock that moves when a test says so; and its races."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from support import NOW, SECOND

from tradeguard.backends.memory import MemoryJournal, MemoryKeys
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import Event
from tradeguard.core.key import Changes, KeyRecord, KeyState, Mark, Material
from tradeguard.core.ports import Colour, Following, KeyAdmin
from tradeguard.core.secret import Secret
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.format import make_id
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.material import Hmac

POLL, STALE, MINUTE = 250, 30_000, 60_000_000_000


def key(id: str = "a", **fields: Any) -> KeyRecord:
    given: dict[str, Any] = {"dialect": "tg1", "material": Hmac(f"the secret of key {id}"), "scopes": {"orders:read"}}
    return KeyRecord(id=id, **{**given, **fields})


def after(record: KeyRecord, state: KeyState = "revoked") -> KeyRecord:
    return replace(record, state=state, version=record.version + 1)


class Clock:
    """Monotonic ns."""

    def __init__(self) -> None:
        self.at = 10**12

    def __call__(self) -> int:
        return self.at


class Store:
    """A key store that counts, waits and fails as a test says; MemoryKeys keeps the records."""

    def __init__(self, *records: KeyRecord, colour: Colour = "instant") -> None:
        self.keys, self.colour = MemoryKeys(records), colour
        self.calls: list[str] = []
        self.down = self.deaf = False  # cannot answer at all; cannot tell changes
        self.gate: asyncio.Event | None = None  # look-ups wait for it, with what they have read

    async def find(self, id: str, /) -> KeyRecord | None:
        self.calls.append(f"find {id}")
        self._answer()
        record = await self.keys.find(id)
        if self.gate is not None:
            await self.gate.wait()
        return record

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        self._answer()
        await self.keys.put(records)

    async def list(self, after: str = "", limit: int = 1000) -> list[KeyRecord]:
        return await self.keys.list(after, limit)

    async def holder(self, material: Material, /) -> str | None:
        return await self.keys.holder(material)

    async def changes(self, mark: Mark | None, /) -> Changes:
        self.calls.append("changes")
        self._answer()
        if self.deaf:
            raise BackendDown("no changes to be had")
        return await self.keys.changes(mark)

    async def touch(self, uses: Mapping[str, int], /) -> None:
        self._answer()
        await self.keys.touch(uses)

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        self._answer()
        return await self.keys.uses(ids)

    def _answer(self) -> None:
        if self.down:
            raise BackendDown("the store is down")


class FindOnly:
    """A venue's own table, of which we can only ask for one key."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records, self.colour = {record.id: record for record in records}, "instant"
        self.calls: list[str] = []
        self.down = False

    colour: Colour

    async def find(self, id: str, /) -> KeyRecord | None:
        self.calls.append(id)
        if self.down:
            raise BackendDown("the table is down")
        return self.records.get(id)


@dataclass
class Desk:
    """A store, a cache over it, and its clock."""

    store: Any
    cache: CachedKeys
    clock: Clock

    def wait(self, ns: int = POLL) -> None:
        self.clock.at += ns


def desk(store: Any = None, **options: Any) -> Desk:
    store, clock = store or Store(key("a"), key("b")), Clock()
    return Desk(store, CachedKeys(store, clock=clock, **{"poll": POLL, "stale_after": STALE, **options}), clock)


async def versions(cache: CachedKeys, *ids: str) -> list[int | None]:
    found = [await cache.find(id) for id in ids]
    return [None if record is None else record.version for record in found]


@pytest.mark.parametrize("options", [{"size": 0}, {"poll": 0}, {"stale_after": 0}, {"poll": -1}])
def test_a_size_or_time_below_one_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="all at least 1"):
        CachedKeys(MemoryKeys(), **options)  # type: ignore[arg-type]


def test_it_is_a_key_store_that_is_followed() -> None:
    cache = desk().cache
    assert isinstance(cache, Following)
    assert isinstance(cache, KeyAdmin)
    assert CachedKeys(Store(colour="async")).colour == "async"


# rule 1: what is seen, and when


def test_a_key_is_asked_for_once(run: Run) -> None:
    d = desk()

    async def work() -> None:
        first = await d.cache.find("a")
        assert first is await d.cache.find("a") is await d.store.keys.find("a")
        for _ in range(3):
            d.wait()
            assert await d.cache.find("a") is first

    run(work())
    assert d.store.calls == ["changes", "find a", "changes", "changes", "changes"]


def test_the_store_is_polled_by_the_first_request_after_the_time_and_by_no_other(run: Run) -> None:
    d = desk()

    async def work() -> None:
        for _ in range(5):
            await d.cache.find("a")
        d.wait(POLL - 1)
        await d.cache.find("a")
        assert d.store.calls.count("changes") == 1
        d.wait(1)
        for _ in range(5):
            await d.cache.find("a")
        assert d.store.calls.count("changes") == 2

    run(work())


def test_a_change_made_here_is_seen_by_the_next_request(run: Run) -> None:
    d = desk()

    async def work() -> None:
        record = await d.cache.find("a")
        assert record is not None
        assert await d.cache.find("new") is None
        await d.cache.put([after(record), key("new")])
        assert await versions(d.cache, "a", "new", "b") == [2, 1, 1]

    run(work())


def test_a_change_that_failed_may_have_happened_so_the_store_is_asked_again(run: Run) -> None:
    class Unsure(Store):
        async def put(self, records: Sequence[KeyRecord], /) -> None:
            await self.keys.put(records)
            raise BackendDown("no answer", unknown=True)

    d = desk(Unsure(key("a")))

    async def work() -> None:
        record = await d.cache.find("a")
        assert record is not None
        with pytest.raises(BackendDown):
            await d.cache.put([after(record)])
        assert await versions(d.cache, "a") == [2]

    run(work())


def test_a_change_made_elsewhere_is_seen_after_one_poll(run: Run) -> None:
    d = desk()

    async def work() -> None:
        assert await versions(d.cache, "a", "b", "new") == [1, 1, None]
        await d.store.keys.put([after(key("a")), key("new")])
        assert await versions(d.cache, "a", "b", "new") == [1, 1, None]
        d.wait()
        d.store.calls.clear()
        assert await versions(d.cache, "a", "b", "new") == [2, 1, 1]
        assert d.store.calls == ["changes", "find a", "find new"]  # what did not change is not asked for

    run(work())


def test_another_epoch_of_the_store_forgets_everything(run: Run) -> None:
    d = desk()

    async def work() -> None:
        assert await versions(d.cache, "a", "none") == [1, None]
        d.store.keys = MemoryKeys([key("none")])
        d.wait()
        assert await versions(d.cache, "a", "none") == [None, 1]

    run(work())


def test_what_the_host_clears_is_asked_for_again(run: Run) -> None:
    d = desk()

    async def work() -> None:
        await versions(d.cache, "a", "none")
        d.cache.clear()
        assert len(d.cache) == 0
        d.store.calls.clear()
        await versions(d.cache, "a", "none")
        assert d.store.calls == ["find a", "find none"]

    run(work())


def test_a_find_only_store_is_asked_again_after_each_poll(run: Run) -> None:
    d = desk(FindOnly(key("a")))

    async def work() -> None:
        await versions(d.cache, "a", "a", "none", "none")
        assert d.store.calls == ["a", "none"]
        d.store.records["a"] = replace(key("a"), version=7)
        d.store.records["none"] = key("none")
        assert await versions(d.cache, "a", "none") == [1, None]
        d.wait()
        assert await versions(d.cache, "a", "a", "none") == [7, 7, 1]
        assert d.store.calls == ["a", "none", "a", "none"]

    run(work())


def test_a_find_only_store_is_not_changed_through_the_cache(run: Run) -> None:
    cache = desk(FindOnly(key("a"))).cache

    async def work() -> None:
        for call in (
            cache.put([key("b")]), cache.list(), cache.holder(Hmac(b"x" * 16)), cache.changes(None), cache.touch({}),
            cache.uses([]),
        ):  # fmt: skip
            with pytest.raises(ConfigError, match="FindOnly only finds keys; change them where they are kept"):
                await call

    run(work())


def test_what_a_store_can_do_is_done_through_the_cache(run: Run) -> None:
    d = desk()

    async def work() -> None:
        assert [record.id for record in await d.cache.list("a", 5)] == ["b"]
        assert await d.cache.holder(key("b").material) == "b"
        await d.cache.touch({"a": 5})
        assert await d.cache.uses(["a", "b"]) == {"a": 5}
        assert (await d.cache.changes(None)).ids is None

    run(work())


def test_a_cache_that_is_told_to_renew_polls_with_the_next_request(run: Run) -> None:
    d = desk()

    async def work() -> None:
        assert await versions(d.cache, "a") == [1]
        await d.store.keys.put([after(key("a"))])
        d.cache.renew()
        assert await versions(d.cache, "a") == [2]
        assert d.store.calls.count("changes") == 2

    run(work())


def test_by_default_it_lags_a_quarter_of_a_second_and_bears_an_outage_of_30_seconds(run: Run) -> None:
    store, clock = Store(key("a")), Clock()
    cache = CachedKeys(store, clock=clock)

    async def work() -> None:
        await cache.find("a")
        await store.keys.put([after(key("a"), "retiring")])
        clock.at += SECOND // 4 - 1
        assert await versions(cache, "a") == [1]
        clock.at += 1
        assert await versions(cache, "a") == [2]
        store.down = True
        clock.at += 30 * SECOND
        assert await versions(cache, "a") == [2]
        clock.at += 1
        with pytest.raises(BackendDown):
            await cache.find("a")

    run(work())


# rule 2: a store that does not answer


def test_what_is_known_is_used_until_it_is_stale(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    d = desk()

    async def work() -> None:
        await versions(d.cache, "a", "none")
        d.store.down = True
        d.wait(POLL)
        assert await versions(d.cache, "a", "none") == [1, None]
        assert "going on with what is known" in caplog.text
        with pytest.raises(BackendDown, match="down"):
            await d.cache.find("b")
        d.wait(STALE - POLL)
        assert await versions(d.cache, "a") == [1]
        d.wait(1)
        for id in ("a", "none", "b"):
            d.wait(POLL)
            with pytest.raises(BackendDown):
                await d.cache.find(id)
            with pytest.raises(BackendDown):  # and the next one at the same time is no luckier
                await d.cache.find(id)
        d.store.down = False
        assert await versions(d.cache, "a", "b") == [1, 1]

    run(work())


def test_a_change_made_during_an_outage_is_seen_when_it_is_over(run: Run) -> None:
    d = desk()

    async def work() -> None:
        await d.cache.find("a")
        await d.store.keys.put([after(key("a"))])
        d.store.down = True
        d.wait()
        assert await versions(d.cache, "a") == [1]
        d.store.down = False
        d.wait()
        assert await versions(d.cache, "a") == [2]

    run(work())


def test_staleness_counts_from_the_last_poll_not_from_a_look_up(run: Run) -> None:
    """Else a stranger's look-ups would keep a revoked key alive where the changes cannot be read."""
    d = desk()

    async def work() -> None:
        await d.cache.find("a")
        await d.store.keys.put([after(key("a"))])
        d.store.deaf = True
        for number in range(2 * STALE // POLL):
            d.wait()
            try:
                await d.cache.find(f"stranger{number}")
            except BackendDown:
                break
        with pytest.raises(BackendDown):
            await d.cache.find("a")

    run(work())


def test_while_a_poll_waits_nothing_stale_is_served() -> None:
    class Hanging(Store):
        hang: asyncio.Event | None = None

        async def changes(self, mark: Mark | None, /) -> Changes:
            if self.hang is not None:
                await self.hang.wait()
            return await super().changes(mark)

    store = Hanging(key("a"), colour="async")
    d = desk(store)

    async def work() -> None:
        await d.cache.find("a")
        store.hang, store.down = asyncio.Event(), True
        d.wait(STALE + 1)
        asking = [asyncio.create_task(d.cache.find("a")) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not [task for task in asking if task.done() and task.exception() is None]
        store.hang.set()
        for task in asking:
            with pytest.raises(BackendDown):
                await task

    asyncio.run(work())


def test_after_a_quiet_time_all_who_come_at_once_are_answered() -> None:
    class Slow(Store):
        async def changes(self, mark: Mark | None, /) -> Changes:
            await asyncio.sleep(0)
            return await super().changes(mark)

    d = desk(Slow(key("a"), colour="async"))

    async def work() -> None:
        await d.cache.find("a")
        d.wait(2 * STALE)
        found = await asyncio.gather(*(d.cache.find("a") for _ in range(3)))
        assert [record and record.version for record in found] == [1, 1, 1]

    asyncio.run(work())


def test_others_go_on_with_what_is_known_while_one_polls() -> None:
    class Slow(Store):
        wait_for: asyncio.Event | None = None

        async def changes(self, mark: Mark | None, /) -> Changes:
            if self.wait_for is not None:
                await self.wait_for.wait()
            return await super().changes(mark)

    store = Slow(key("a"), colour="async")
    d = desk(store)

    async def work() -> None:
        await d.cache.find("a")
        store.wait_for = asyncio.Event()
        d.wait()
        polling = asyncio.create_task(d.cache.find("a"))
        await asyncio.sleep(0)
        assert await versions(d.cache, "a") == [1]
        assert not polling.done()
        store.wait_for.set()
        assert await polling is not None

    asyncio.run(work())


def test_a_find_only_store_that_is_down_leaves_what_is_known(run: Run) -> None:
    d = desk(FindOnly(key("a"), key("b")))

    async def work() -> None:
        await versions(d.cache, "a", "b")
        d.store.down = True
        for _ in range(STALE // POLL):
            d.wait()
            assert await versions(d.cache, "a", "b") == [1, 1]
        with pytest.raises(BackendDown):
            await d.cache.find("c")
        d.wait(POLL)
        for id in ("a", "b"):
            with pytest.raises(BackendDown):
                await d.cache.find(id)

    run(work())


def test_a_find_only_store_that_is_down_leaves_also_what_is_seldom_asked_for(run: Run) -> None:
    d = desk(FindOnly(key("a"), key("b")))

    async def work() -> None:
        await versions(d.cache, "a", "b")
        for _ in range(3):
            d.wait()
            await d.cache.find("b")
        d.store.down = True
        for _ in range(3):
            d.wait()
            assert await versions(d.cache, "b") == [1]
        assert await versions(d.cache, "a") == [1]

    run(work())


def test_a_key_that_a_find_only_store_has_removed_does_not_come_back_with_an_outage(run: Run) -> None:
    d = desk(FindOnly(key("a")))

    async def work() -> None:
        await d.cache.find("a")
        del d.store.records["a"]
        d.wait()
        assert await d.cache.find("a") is None
        d.store.down = True
        d.wait()
        with pytest.raises(BackendDown):
            await d.cache.find("a")

    run(work())


def test_a_record_that_is_known_to_have_changed_does_not_come_back_with_an_outage(run: Run) -> None:
    d = desk()

    async def work() -> None:
        await d.cache.find("a")
        await d.cache.put([after(key("a"))])
        d.store.down = True
        with pytest.raises(BackendDown):
            await d.cache.find("a")

    run(work())


def test_an_unknown_key_of_a_find_only_store_is_no_answer_while_it_is_down(run: Run) -> None:
    d = desk(FindOnly())

    async def work() -> None:
        assert await d.cache.find("none") is None
        d.store.down = True
        d.wait()
        with pytest.raises(BackendDown):
            await d.cache.find("none")

    run(work())


# rule 3: strangers


@pytest.mark.parametrize("state", ["pending", "suspended", "revoked", "compromised"])
def test_a_key_that_does_not_verify_is_kept_with_the_unknown_ones(run: Run, state: KeyState) -> None:
    d = desk(Store(key("a", state=state)))

    async def work() -> None:
        assert await versions(d.cache, "a", "a", "a") == [1, 1, 1]
        assert d.store.calls.count("find a") == 1
        for number in range(16_384):
            await d.cache.find(f"stranger{number}")
        await d.cache.find("a")
        assert d.store.calls.count("find a") == 2  # displaced, like any of them

    run(work())


def test_unknown_and_ended_ids_cost_the_same(run: Run) -> None:
    d = desk(Store(key("revoked", state="revoked"), key("suspended", state="suspended"), key("cold")))

    async def work() -> None:
        await d.cache.find("x")
        for id in ("revoked", "suspended", "cold", "unknown"):
            d.store.calls.clear()
            await d.cache.find(id)
            assert d.store.calls == [f"find {id}"]

    run(work())


def test_a_flood_of_unknown_ids_is_bounded_and_displaces_no_key() -> None:
    d = desk()

    async def work() -> None:
        await versions(d.cache, "a", "b")
        d.store.calls.clear()
        largest = 0
        for number in range(200_000):
            await d.cache.find(f"stranger{number}")
            largest = max(largest, len(d.cache))
        assert largest == 16_384 + 2
        d.store.calls.clear()
        assert await versions(d.cache, "a", "b") == [1, 1]
        assert d.store.calls == []

    drive(work())


def test_the_number_of_known_keys_is_bounded_too(run: Run) -> None:
    d = desk(Store(*(key(f"k{number}") for number in range(50))), size=10)

    async def work() -> None:
        for number in range(50):
            await d.cache.find(f"k{number}")
        assert len(d.cache) == 10
        d.store.calls.clear()
        await d.cache.find("k49")
        assert d.store.calls == []
        await d.cache.find("k0")
        assert d.store.calls == ["find k0"]

    run(work())


def test_a_mistyped_id_of_our_own_form_does_not_reach_the_store(run: Run) -> None:
    id = make_id("live", "hmac")
    d = desk(Store(key(id)))

    async def work() -> None:
        typo = id[:-1] + ("0" if id[-1] != "0" else "1")
        for wrong in (typo, "tgs_live_" + "a" * 49, "tg_", "tg_live_hmac_"):
            assert await d.cache.find(wrong) is None
        assert d.store.calls == ["changes"]
        assert await d.cache.find(id) is not None

    run(work())


# rule 4: look-ups at once


def test_no_more_than_32_look_ups_wait_for_the_store() -> None:
    d = desk(Store(key("a"), colour="async"))

    async def work() -> None:
        await d.cache.find("a")
        d.store.gate = asyncio.Event()
        waiting = [asyncio.create_task(d.cache.find(f"cold{number}")) for number in range(32)]
        await asyncio.sleep(0)
        with pytest.raises(BackendDown, match="32 look-ups are waiting for Store"):
            await d.cache.find("one more")
        assert await versions(d.cache, "a") == [1]  # what is known needs none
        assert len([call for call in d.store.calls if call.startswith("find cold")]) == 32
        waiting[0].cancel()
        await asyncio.sleep(0)
        another = asyncio.create_task(d.cache.find("one more"))
        await asyncio.sleep(0)
        d.store.gate.set()
        assert await another is None
        assert await asyncio.gather(*waiting[1:]) == [None] * 31
        assert await d.cache.find("later") is None

    asyncio.run(work())


def test_a_look_up_that_fails_gives_its_place_back(run: Run) -> None:
    d = desk()

    async def work() -> None:
        await d.cache.find("a")
        d.store.down = True
        for number in range(100):
            with pytest.raises(BackendDown, match="the store is down"):
                await d.cache.find(f"cold{number}")

    run(work())


# races


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_look_up_that_read_the_old_record_while_it_was_revoked_is_not_kept(elsewhere: bool) -> None:
    store = Store(key("a"), colour="async")
    d = desk(store)

    async def work() -> None:
        await d.cache.find("b")
        store.gate = asyncio.Event()
        late = asyncio.create_task(d.cache.find("a"))
        await asyncio.sleep(0)  # it has read version 1 and waits
        gate, store.gate = store.gate, None
        if elsewhere:
            await store.keys.put([after(key("a"))])
            d.wait()
            await d.cache.find("b")  # polls
        else:
            await d.cache.put([after(key("a"))])
        gate.set()
        assert (await late) is not None
        assert await versions(d.cache, "a") == [2]

    asyncio.run(work())


def test_a_slow_look_up_in_a_find_only_store_is_not_kept_beyond_its_time() -> None:
    class Slow(FindOnly):
        gate: asyncio.Event | None = None

        async def find(self, id: str, /) -> KeyRecord | None:
            record = await super().find(id)
            if self.gate is not None:
                await self.gate.wait()
            return record

    store = Slow(key("a"))
    store.colour = "async"
    d = desk(store)

    async def work() -> None:
        store.gate = asyncio.Event()
        late = asyncio.create_task(d.cache.find("a"))
        await asyncio.sleep(0)
        gate, store.gate = store.gate, None
        store.records["a"] = replace(key("a"), version=7)
        d.wait()
        await d.cache.find("b")  # the next round of asking has begun
        gate.set()
        await late
        assert await versions(d.cache, "a") == [7]

    asyncio.run(work())


def test_what_is_revoked_between_the_look_and_the_keeping_is_not_kept() -> None:
    """Another thread could; here the record itself does, when the cache asks it whether it verifies."""
    revoked: list[Callable[[], None]] = []

    class Trap(KeyRecord):
        def usable(self, at: int) -> bool:
            while revoked:
                revoked.pop()()
            return KeyRecord.usable(self, at)

    record = Trap(id="a", dialect="tg1", material=key("a").material, scopes={"orders:read"})
    d = desk(Store(record))
    drive(d.cache.find("x"))
    plain = KeyRecord(
        id="a", dialect="tg1", material=record.material, scopes={"orders:read"}, state="revoked", version=2
    )
    errors: list[BaseException] = []

    def revoke() -> None:
        try:
            drive(d.cache.put([plain]))
        except BaseException as error:
            errors.append(error)

    def from_another_thread() -> None:
        threads.append(threading.Thread(target=revoke, daemon=True))
        threads[-1].start()
        threads[-1].join(0.5)  # where the cache holds a lock now, the revocation waits for it

    threads: list[threading.Thread] = []
    revoked.append(from_another_thread)
    drive(d.cache.find("a"))
    [thread] = threads
    thread.join(10)
    assert errors == []
    assert drive(versions(d.cache, "a")) == [2]


def test_threads_see_a_revocation_at_once() -> None:
    """Every look-up that begins after `put` has returned sees its version or a later one."""
    record = key("a")
    store = Store(record)
    cache = CachedKeys(store, poll=MINUTE, clock=Clock())
    done, errors, latest = threading.Event(), list[str](), [1]

    def look() -> None:
        while not done.is_set():
            least = latest[0]
            found = drive(cache.find("a"))
            if found is None or found.version < least:
                errors.append(f"{found} after version {least}")

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 500):
        record = after(record, "suspended" if version % 2 else "active")
        drive(cache.put([record]))
        latest[0] = version
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []


# stands and used


def test_a_key_stands_as_long_as_it_verifies() -> None:
    d = desk(Store(key("a"), key("ends", expires=NOW + 1), key("off", state="suspended")))
    assert d.cache.stands("a", NOW)
    assert d.cache.stands("ends", NOW)
    assert not d.cache.stands("ends", NOW + 1)
    assert not d.cache.stands("off", NOW)
    assert not d.cache.stands("none", NOW)
    drive(d.cache.put([after(key("a"))]))
    assert not d.cache.stands("a", NOW)


def test_standing_is_polled_for_too() -> None:
    d = desk()
    assert d.cache.stands("a", NOW)
    drive(d.store.keys.put([after(key("a"))]))
    assert d.cache.stands("a", NOW)
    d.wait()
    assert not d.cache.stands("a", NOW)


def test_a_key_of_a_store_that_is_down_for_too_long_does_not_stand() -> None:
    d = desk()
    assert d.cache.stands("a", NOW)
    d.store.down = True
    d.wait(STALE)
    assert d.cache.stands("a", NOW)
    d.wait(1)
    assert not d.cache.stands("a", NOW)


def test_over_a_store_that_waits_on_a_loop_only_what_is_known_stands() -> None:
    d = desk(Store(key("a"), colour="async"))
    assert not d.cache.stands("a", NOW)
    asyncio.run(versions(d.cache, "a"))
    d.store.calls.clear()
    assert d.cache.stands("a", NOW)
    assert d.store.calls == []
    asyncio.run(d.cache.put([after(key("a"))]))
    assert not d.cache.stands("a", NOW)


def written(d: Desk) -> Mapping[str, int]:
    """What the store knows of uses, after the thread that writes them is through."""
    for thread in threading.enumerate():
        if thread.name == "tradeguard-key-uses":
            thread.join(10)
    return drive(d.store.keys.uses(["a", "b", "old", "new"]))


def test_uses_are_noted_once_a_minute_and_written_off_the_way_of_a_request() -> None:
    d = desk()
    a = drive(d.cache.find("a"))
    assert a is not None
    d.cache.used(a, NOW)
    d.cache.used(a, NOW + 5)
    d.wait(MINUTE - 1)
    drive(d.cache.find("a"))
    assert written(d) == {}
    d.wait(POLL)
    drive(d.cache.find("a"))
    assert written(d) == {"a": NOW}
    d.cache.used(a, NOW + MINUTE)
    d.wait(POLL)
    drive(d.cache.find("a"))
    assert written(d) == {"a": NOW}
    d.wait(MINUTE)
    drive(d.cache.find("a"))
    assert written(d) == {"a": NOW + MINUTE}


def test_uses_that_cannot_be_written_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class NoUses(Store):
        async def touch(self, uses: Mapping[str, int], /) -> None:
            raise BackendDown("read-only")

    d = desk(NoUses(key("a")))
    d.cache.used(key("a"), NOW)
    d.wait(MINUTE)
    assert drive(d.cache.find("a")) is not None
    written(d)
    assert "when 1 keys were last used is not written down: read-only" in caplog.text


def test_closing_writes_the_uses_and_lets_go_of_the_store() -> None:
    class Closable(Store):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    d = desk(Closable(key("a")))
    d.cache.used(key("a"), NOW)
    d.cache.close()
    assert written(d) == {"a": NOW}
    assert d.store.closed == 1
    assert drive(d.cache.find("a")) is not None


@pytest.mark.parametrize("colour", ["instant", "async"])
def test_closing_over_a_find_only_store_says_nothing(colour: Colour, caplog: pytest.LogCaptureFixture) -> None:
    store = FindOnly(key("a"))
    store.colour = colour
    cache = CachedKeys(store)
    cache.used(key("a"), NOW)
    with caplog.at_level(logging.WARNING):
        cache.close()
    assert caplog.text == ""


def test_over_a_store_that_waits_on_a_loop_no_uses_are_written() -> None:
    class Remote(Store):
        async def touch(self, uses: Mapping[str, int], /) -> None:
            raise AssertionError(uses)

    d = desk(Remote(key("a"), colour="async"))
    d.cache.used(key("a"), NOW)
    d.wait(MINUTE)
    asyncio.run(versions(d.cache, "a"))
    d.cache.close()
    assert written(d) == {}


def test_only_successors_are_asked_for() -> None:
    asked: list[Sequence[str]] = []

    class Noting(Store):
        async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
            asked.append(ids)
            return await super().uses(ids)

    d = desk(Noting(key("a")), journal=MemoryJournal())
    d.cache.used(key("a"), NOW)
    d.cache.used(key("old", state="retiring", successor="new"), NOW)
    d.cache.close()
    assert asked == [["new"]]


def overlapping(*uses: tuple[str, int], stored: Mapping[str, int] | None = None) -> list[Event]:
    """Uses of an old key and its successor; return the events that come of them."""
    journal = MemoryJournal()
    old, new = key("old", state="retiring", successor="new", account="acme"), key("new", predecessor="old")
    d = desk(Store(key("old"), new), journal=journal)
    drive(d.store.keys.touch(stored or {}))
    for id, at in uses:
        d.cache.used(old if id == "old" else new, at)
    d.cache.close()
    return list(journal.events)


def test_the_use_of_a_key_after_its_successor_was_used_is_an_event() -> None:
    [event] = overlapping(("old", NOW), stored={"new": NOW - 1})
    assert (event.kind, event.code, event.key_id, event.at) == ("key", "keys.overlap", "old", NOW)
    assert (event.account, event.dialect, event.proven) == ("acme", "tg1", True)
    assert event.detail == "used although its successor new is in use"
    assert [event.code for event in overlapping(("new", NOW), ("old", NOW + 1))] == ["keys.overlap"]


def test_a_later_use_in_the_same_minute_is_one_too() -> None:
    assert [event.code for event in overlapping(("old", 1), ("new", 2), ("old", 3))] == ["keys.overlap"]


def test_an_overlap_without_a_journal_is_told_to_nobody() -> None:
    d = desk(Store(key("old"), key("new")))
    drive(d.store.keys.touch({"new": 1}))
    d.cache.used(key("old", state="retiring", successor="new"), NOW)
    d.cache.close()
    assert written(d) == {"old": NOW, "new": 1}


def test_a_key_that_is_not_replaced_yet_makes_no_event() -> None:
    assert overlapping(("old", NOW)) == []
    assert overlapping(("old", NOW), ("new", NOW + 1)) == []
    assert overlapping(("old", NOW), ("new", NOW)) == []
    assert overlapping(("new", NOW), stored={"old": NOW - 1}) == []


# over a real store: two caches, one file; and a fork


def sealed(path: Path) -> SealedKeys:
    return SealedKeys(SQLiteKeys(path), LocalSealer(MasterKeys([MasterKey(Secret(b"m" * 32))])))


def test_two_caches_over_one_file_see_each_other_after_one_poll(tmp_path: Path, run: Run) -> None:
    clock = Clock()
    one, two = (CachedKeys(sealed(tmp_path / "keys.db"), poll=POLL, clock=clock) for _ in range(2))

    async def work() -> None:
        await one.put([key("a")])
        assert await versions(two, "a") == [1]
        await one.put([after(key("a"))])
        assert await versions(one, "a") == [2]
        assert await versions(two, "a") == [1]
        clock.at += POLL
        assert await versions(two, "a") == [2]

    run(work())
    one.close()
    two.close()
    assert run(versions(one, "a")) == [2]  # opened again
    one.close()


def test_after_a_fork_the_child_goes_on_by_itself(tmp_path: Path) -> None:
    cache = CachedKeys(sealed(tmp_path / "keys.db"), poll=1)
    drive(cache.put([key("a")]))
    assert drive(versions(cache, "a")) == [1]
    cache._flights.extend([None] * 32)  # the look-ups of threads that do not come along,
    cache._lock.acquire()  # and the lock that one of them holds
    child = os.fork()
    if child == 0:  # pragma: no cover
        status = 1
        signal.alarm(20)
        try:
            drive(cache.put([after(key("a"))]))
            status = 0 if drive(versions(cache, "a", "cold")) == [2, None] else 2
        finally:
            os._exit(status)
    cache._lock.release()
    cache._flights.clear()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert drive(versions(cache, "a")) == [2]
    cache.close()
