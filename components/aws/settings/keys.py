"""The settings of the customer-managed keys."""

from __future__ import annotations

from pydantic import Field

from components.section import Section

LONGEST_DELETION_DAYS = 30
"""The longest that AWS offers: time to notice that a key was scheduled for deletion."""


class KeySettings(Section):
    """How the keys of an environment are kept."""

    rotation_days: int = Field(365, ge=90, le=365)
    """Days until a key gets new material. Old material stays, so that old data can be read."""
    deletion_days: int = Field(LONGEST_DELETION_DAYS, ge=7, le=LONGEST_DELETION_DAYS)
    """Days between the deletion of a key and the loss of everything encrypted under it."""
    team_keys: bool = False
    """Whether each team has a key of its own, under which all of its folders are and nothing else
    is. Deleting it erases them. About a dollar a month for each."""


def problems_of_keys(keys: KeySettings, *, keep_data: bool, networked: bool) -> list[str]:
    """What is wrong with `keys` in an environment that keeps its data, or has a network, or not."""
    problems = []
    if keep_data and keys.deletion_days < LONGEST_DELETION_DAYS:
        must = f"where keep_data is true it must be {LONGEST_DELETION_DAYS}"
        problems.append(
            f"keys.deletion_days: is {keys.deletion_days}; {must}: no deleted key comes back"
        )
    if keys.team_keys and not networked:
        problems.append(
            "keys.team_keys: is true, and there is no network: the doors of teams, which hold each "
            "to its key, open to one; declare network or existing_network"
        )
    return problems
