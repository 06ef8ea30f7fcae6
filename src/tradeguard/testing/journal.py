"""JournalConformance: what every journal holds: it takes events as they are, in order, and says when one is lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from tradeguard.core.errors import BackendDown
from tradeguard.core.event import Event
from tradeguard.core.ports import Journal
from tradeguard.testing.suite import SETTINGS, Suite, given, pytest, settings, st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
"""What a stranger may put into a path, a method or a header."""
HOSTILE = ['"}\n{"kind":"outcome"', "\r\n", "\x00", "\u2028\u2029", "\x85", "é\U0001f511", "\\"]
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(["intent", "outcome", "refused"]),
    at=st.integers(0, 2**62),
    request_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    proven=st.just(True),
    status=st.integers(0, 599),
    method=TEXTS,
    path=TEXTS,
    key_id=TEXTS,
    detail=TEXTS,
)


def event(number: int, **fields: Any) -> Event:
    """Return an event that is told from others by its request id."""
    return Event("intent", 1_000 + number, f"{number:032x}", proven=True, **fields)


class JournalConformance(Suite):
    """Holds a journal against its promises.

    Set `make` to what returns an empty one and `read` to what returns its events, as mappings from field to value.
    Where you can make one whose disk is full or whose server is gone, set `broken` to what returns it.
    """

    @staticmethod
    def make() -> Journal:
        """Return an empty journal; a class that is tested says how."""
        raise NotImplementedError("make = staticmethod(lambda: MyJournal(...))")

    @staticmethod
    def read(journal: Any) -> Sequence[Mapping[str, Any]]:
        """Return its events, oldest first; a class that is tested says how."""
        raise NotImplementedError("read = staticmethod(lambda journal: ...)")

    @staticmethod
    def broken() -> Journal | None:
        """Return a journal that cannot write; None where there is no way to make one."""
        return None

    def append(self, journal: Journal, *events: Event) -> None:
        """Append events and wait until they are on record."""
        for ticket in [journal.append(event) for event in events]:
            ticket.wait()

    def test_appending_never_waits_so_its_colour_is_instant(self) -> None:
        """`append` is called on the path of a request, so it may not wait."""
        assert self.make().colour == "instant"

    @settings(SETTINGS, max_examples=50)
    @given(events=st.lists(EVENTS, max_size=5))
    def test_events_are_kept_field_for_field_and_in_order(self, events: list[Event]) -> None:
        """Every field of an event is kept as it was given, and events stay in their order."""
        journal = self.make()
        self.append(journal, *events)
        journal.flush()
        kept = [{name: line[name] for name in Event._fields} for line in self.read(journal)]
        assert kept == [event._asdict() for event in events]

    @pytest.mark.parametrize(
        "text", ['"}\n{"kind":"outcome"', "\r\n", "\x00", "\u2028\u2029", "\x85", "é\U0001f511", "\\"]
    )
    def test_no_text_of_a_stranger_makes_two_events_of_one(self, text: str) -> None:
        """Line breaks, quotes and controls in a field stay in that field (log forging)."""
        journal = self.make()
        self.append(journal, event(1, path=text, detail=text))
        [line] = self.read(journal)
        assert (line["path"], line["detail"]) == (text, text)

    def test_a_ticket_is_done_once_it_was_waited_for_and_calls_back_once(self) -> None:
        """A ticket is done after `wait`; each callback is called once, late ones at once."""
        ticket = self.make().append(event(1))
        calls: list[int] = []
        ticket.then(lambda: calls.append(1))
        ticket.wait()
        ticket.wait()
        assert ticket.done
        ticket.then(lambda: calls.append(2))
        assert calls == [1, 2]

    def test_of_many_writers_no_event_is_lost_or_mixed(self) -> None:
        """Events of several threads or tasks are all there, each whole."""
        journal = self.make()

        async def write(place: int) -> None:
            for number in range(200):
                journal.append(event(place * 1000 + number, detail="x" * number)).wait()

        self.race(journal, write)
        lines = self.read(journal)
        assert len({line["request_id"] for line in lines}) == len(lines) == 1_600
        assert all(len(line["detail"]) == int(line["request_id"], 16) % 1000 for line in lines)

    def test_what_is_only_counted_takes_no_room_until_it_is_flushed(self) -> None:
        """However often a code is counted, it becomes one event at most."""
        journal = self.make()
        for _ in range(10_000):
            journal.count("source.gated", 1_000)
        journal.flush()
        assert len(self.read(journal)) <= 1

    def test_one_that_cannot_write_says_so_in_the_ticket_and_never_raises(self) -> None:
        """A lost event is `BackendDown` from its ticket; nothing else raises."""
        journal = self.broken()
        if journal is None:
            pytest.skip("no broken journal is given")
        ticket = journal.append(event(1))
        journal.count("source.gated", 1_000)
        journal.flush()
        for _ in range(2):
            with pytest.raises(BackendDown):
                ticket.wait()
        assert ticket.done
