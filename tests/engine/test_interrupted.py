"""What is interrupted goes on: nothing made twice, nothing left behind."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Living

Begin = Callable[[str], contextlib.AbstractContextManager["Living"]]
INTERRUPTIONS = 20
UNASKED = ("--yes", "--skip-preview")
KEY, BUCKET = "aws:kms/key:Key", "aws:s3/bucket:Bucket"


def test_an_up_interrupted_at_random_steps_ends_as_if_it_had_not_been(living: Begin) -> None:
    """Killed before a thing is made or after, refused, throttled, not answered: 20 times in all."""
    seed = random.randrange(10**6)  # noqa: S311 no secret
    print(f"seed {seed}")  # noqa: T201 shown when the test fails
    choose = random.Random(seed)  # noqa: S311
    with living("dev") as environment:
        steps = sum(operation == "create" for operation in environment.steps().values())
        faults = [
            choose.choice(
                [
                    {"what": "kill-engine", "when": "before"},
                    {"what": "kill-engine", "when": "after"},
                    {"what": "fail"},
                    {"what": "throttle"},
                    {"what": "time-out", "seconds": 0.1},
                ]
            )
            | {"on": "create", "number": number}
            for number in sorted(choose.sample(range(1, steps // 2), INTERRUPTIONS))
        ]
        interrupted = 0
        # without the policies, which have nothing to do with it and take as long again
        while (status := environment.pulumi("up", *UNASKED, faults=faults).returncode) != 0:
            interrupted += 1
            assert interrupted <= INTERRUPTIONS, f"seed {seed}"
            if status == -signal.SIGKILL:
                environment.recover()

        assert environment.in_state() == environment.in_world(), f"seed {seed}"
        urns = [thing.urn for thing in environment.world.things()]
        assert len(urns) == len(set(urns)), f"seed {seed}"
        assert interrupted > INTERRUPTIONS // 4, f"seed {seed}"
        unchanged = environment.pulumi("up", *UNASKED, "--expect-no-changes")
        assert unchanged.returncode == 0, f"seed {seed}"


@pytest.fixture(scope="module")
def deployed(living: Begin) -> Iterator[Living]:
    with living("dev") as environment:
        assert environment.pulumi("up", *UNASKED).returncode == 0
        yield environment


def test_what_somebody_deleted_is_noticed_and_made_again(deployed: Living) -> None:
    lost = next(thing for thing in deployed.world.things() if thing.token == KEY)
    deployed.world.remove(lost.place, lost.token, lost.id)

    up = deployed.up("--refresh")

    assert up.returncode == 0, up.stdout
    assert deployed.in_state() == deployed.in_world()
    assert (lost.token, lost.id) not in deployed.in_state()
    assert lost.urn in {thing.urn for thing in deployed.world.things()}


def test_what_was_made_without_an_answer_is_named_and_taken_over(living: Begin) -> None:
    """Pulumi lives and knows nothing of it: a name is in use, and what has none is there twice."""
    lost = {"what": "time-out", "seconds": 0, "on": "create", "when": "after"}
    with living("dev") as environment:
        told = [lost | {"type": KEY, "name": "dev-artifacts-key"}, lost | {"type": BUCKET}]
        # side by side they may be lost in one run, else in the two that are needed
        said = ""
        while not all(f"no answer in 0 s at create of {kind}" in said for kind in (KEY, BUCKET)):
            done = environment.pulumi("up", *UNASKED, faults=told)
            assert done.returncode != 0
            assert "no answer" in done.stdout, said + done.stdout
            said += done.stdout
        beside = environment.in_world() - environment.in_state()
        assert sorted(kind for kind, _ in beside) == [KEY, BUCKET]
        (bucket,) = [
            one
            for one in environment.world.things()
            if (one.token, one.id) in beside and one.token == BUCKET
        ]

        stopped = environment.pulumi("up", *UNASKED)
        assert stopped.returncode != 0
        assert "BucketAlreadyOwnedByYou" in stopped.stdout
        assert bucket.id in stopped.stdout
        environment.take_over([(environment.planned(bucket.urn), bucket.id)])
        finished = environment.pulumi("up", *UNASKED)

        assert finished.returncode == 0, finished.stdout
        assert environment.in_world() - environment.in_state() == beside - {(BUCKET, bucket.id)}
        assert environment.in_state() <= environment.in_world()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"what": "kill-engine"}, ""),
        ({"what": "kill-engine", "when": "after"}, ""),
        ({"what": "kill-provider"}, "error reading from server"),
        ({"what": "fail"}, "InternalFailure"),
        ({"what": "throttle"}, "Rate exceeded"),
    ],
    ids=["engine killed before", "after", "provider killed", "refused", "throttled"],
)
def test_an_interrupted_destroy_goes_on(
    deployed: Living, fault: dict[str, Any], message: str
) -> None:
    with deployed.rewound():
        told = [fault | {"on": "delete", "number": 7}]
        kept = deployed.kept()
        first = deployed.pulumi("destroy", *UNASKED, faults=told)
        assert first.returncode != 0
        assert message in first.stdout + first.stderr
        if first.returncode == -signal.SIGKILL:
            deployed.recover()
        second = deployed.pulumi("destroy", *UNASKED)

        assert second.returncode == 0, second.stdout
        assert deployed.in_state() == set()
        assert deployed.in_world() == kept


def test_a_killed_up_says_that_the_stack_is_locked_and_how_to_unlock_it(living: Begin) -> None:
    with living("dev") as environment:
        told = [{"what": "kill-engine", "on": "create", "type": KEY}]
        assert environment.pulumi("up", *UNASKED, faults=told).returncode != 0
        environment.mend_attributes()
        locked = environment.pulumi("up", *UNASKED)

    assert locked.returncode != 0
    assert "pulumi cancel" in locked.stderr
