"""The gateway's counts, made into averages: what the autoscaler goes by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from modelyard.control.demand import DemandBook
from modelyard.control.ports import Load, Loads
from modelyard.domain.observation import Demand
from modelyard.domain.spec import Autoscaling, Metric

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CONCURRENCY = Autoscaling(target=1, window=10, scale_down_delay=60)
RPS = Autoscaling(target=1, window=10, scale_down_delay=60, metric=Metric.RPS)


class Watch:
    """A book whose clock is ours, and a gateway that reports to it."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.book = DemandBook(lambda: self.at)
        self.gateway = "g1"

    def report(
        self, requests: int = 0, busy: float = 0.0, in_flight: int = 0, waiting: int = 0, quiet: float = 0.0
    ) -> None:
        load = Load(uid="m", requests=requests, busy=busy, in_flight=in_flight, waiting=waiting, quiet=quiet)
        self.book.take(Loads(gateway=self.gateway, at=self.at, models=(load,)))

    def demand(self, scaling: Autoscaling = CONCURRENCY) -> Demand:
        return self.book.demand("m", scaling, NOW + timedelta(seconds=self.at))


def test_nothing_is_known_before_a_gateway_has_spoken() -> None:
    assert Watch().demand() == Demand()


def test_an_average_is_not_known_before_it_was_watched_for_a_whole_window() -> None:
    w = Watch()
    w.report()
    w.at += 9
    assert w.demand().average is None
    w.at += 1
    assert w.demand().average == 0.0


def test_the_average_is_of_the_seconds_spent_in_the_window() -> None:
    w = Watch()
    w.report()
    w.at += 20
    w.report(requests=4, busy=5.0)
    assert w.demand().average == 0.25, "5 s in 20 s, of which the window has the later half"


def test_requests_still_in_flight_count_up_to_now() -> None:
    w = Watch()
    w.report()
    w.at += 20
    w.report(requests=1, in_flight=1)
    w.at += 10
    assert w.demand().average == 1.0


def test_a_load_that_ends_is_forgotten_with_the_window() -> None:
    w = Watch()
    w.report()
    w.at += 10
    w.report(requests=100, busy=10.0)
    average = w.demand().average
    assert average == 1.0
    w.at += 10
    assert w.demand().average == 0.0


def test_requests_a_second() -> None:
    w = Watch()
    w.report()
    w.at += 10
    w.report(requests=50, busy=0.1)
    assert w.demand(RPS).average == 5.0


def test_what_a_gateway_counted_before_we_listened_is_not_taken_for_recent() -> None:
    w = Watch()
    w.report(requests=10_000, busy=5000.0)
    w.at += 10
    assert w.demand().average == 0.0


def test_a_new_gateway_that_counts_from_nought_does_not_disturb_the_average() -> None:
    w = Watch()
    w.report(requests=100, busy=100.0)
    w.at += 10
    w.report(requests=110, busy=110.0)
    assert w.demand().average == 1.0
    w.gateway = "g2"
    w.report(requests=0, busy=0.0)
    w.at += 5
    w.report(requests=5, busy=5.0)
    assert w.demand().average == 1.0


def test_the_peak_is_the_highest_average_within_the_delay() -> None:
    w = Watch()
    w.report()
    w.at += 10
    w.report(requests=1, busy=40.0)
    assert w.demand().average == 4.0
    for _ in range(6):
        w.at += 10
        seen = w.demand()
        assert seen.average == 0.0
    assert seen.peak == 4.0
    w.at += 10
    assert w.demand().peak == 0.0


def test_the_peak_is_not_known_before_it_was_watched_for_the_whole_delay() -> None:
    w = Watch()
    w.report()
    w.at += 10
    w.demand()
    w.at += 59
    assert w.demand().peak is None
    w.at += 1
    assert w.demand().peak == 0.0


def test_quiet_is_since_the_last_request_ended_and_not_while_one_is_there() -> None:
    w = Watch()
    w.report(requests=1, in_flight=1)
    assert w.demand().quiet_since is None
    w.report(requests=1, busy=1.0, quiet=3.0)
    w.at += 4
    assert w.demand().quiet_since == NOW + timedelta(seconds=w.at - 7)


def test_held_requests_are_told() -> None:
    w = Watch()
    w.report(waiting=3)
    assert w.demand().waiting == 3
    assert w.book.waits("m")
