"""Ratings that nobody was asked for, and the cases that business systems name for them afterwards."""

from __future__ import annotations

from dataclasses import replace

from host_agent.errors import RequestError
from host_agent.instant import Instant
from host_agent.store.late_cases import FreeRating, LateCaseStore
from protocol.payloads import Case


class FreeRatings:
    """Over one store, in the agent's one thread."""

    def __init__(self, store: LateCaseStore) -> None:
        self._store = store

    def recent(self, limit: int) -> list[FreeRating]:
        """Return the latest ones, the latest first."""
        return self._store.recent(limit)

    def name_case(self, device: str, seq: int, case: Case, staff: str | None, now: Instant) -> FreeRating:
        """Name the case of a rating that is bound to none; the same again changes nothing. RequestError 404 and 409."""
        rating = self._store.rating(device, seq)
        if rating is None:
            raise RequestError(
                404, "unknown_rating", "没有这条可补登的评价 there is no such rating here that a case can be named for"
            )
        if rating.case is None:
            self._store.name(rating, case, staff, now.utc_ms)
        elif rating.case != case:
            raise RequestError(409, "case_named", "该评价已补登另一办件 another case was named for this rating already")
        return replace(rating, case=case)
