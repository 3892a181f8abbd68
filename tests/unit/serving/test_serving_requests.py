"""What a model server answers to good and to bad requests."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.delivery.whole_answers import WholeAnswers

PREDICTIONS = "/api/v1.0/predictions"
FEEDBACK = "/api/v1.0/feedback"
RECORD: dict[str, Any] = {"Income": 120.0, "Amount": 1000, "Job": "fixed"}


@pytest.fixture
def slot(steady_slot: Any) -> Any:
    return steady_slot


def info(answer: httpx.Response) -> str:
    status = answer.json()["status"]
    assert status["status"] == "FAILURE"
    assert status["code"] == answer.status_code
    assert "Traceback" not in status["info"]
    return str(status["info"])


def post(slot: Any, body: bytes | str, kind: str | None = "application/json") -> httpx.Response:
    headers = {"content-type": kind} if kind else {}
    return httpx.post(f"{slot.url}{PREDICTIONS}", content=body, headers=headers)


def with_field(name: str, value: Any) -> str:
    return json.dumps({"jsonData": {"records": [RECORD | {name: value}]}})


def test_a_record_is_answered_with_probability_decision_version_and_slot(slot: Any) -> None:
    answer = slot.ask()
    assert answer.status_code == 200
    (prediction,) = answer.json()["jsonData"]["predictions"]
    assert prediction == {"probability": pytest.approx(0.2), "decision": "negative"}
    tags = answer.json()["meta"]["tags"]
    assert (tags["version"], tags["slot"], tags["positive"]) == ("1", "a", "bad")
    assert answer.headers["x-falaj-version"] == "1"
    assert answer.headers["x-falaj-slot"] == "a"


def test_rows_in_any_order_of_columns_are_answered_in_rows(slot: Any) -> None:
    message = {
        "meta": {"puid": "mine"},
        "data": {
            "names": ["Job", "Amount", "Income"],
            "ndarray": [["fixed", 1000, 120.5], [None, 20, None]],
        },
    }
    answer = post(slot, json.dumps(message)).json()
    assert answer["data"]["names"] == ["probability", "decision"]
    assert answer["data"]["ndarray"] == [[pytest.approx(0.2), 0]] * 2
    assert answer["meta"]["puid"] == "mine"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(
            json.dumps({"jsonData": {"records": [{"Income": 1, "Job": "fixed"}]}}),
            "records[0].Amount: is missing",
            id="missing field",
        ),
        pytest.param(with_field("Colour", "red"), "Colour: is no field", id="unknown field"),
        pytest.param(with_field("Amount", "1000"), "Amount: is '1000', expected", id="text"),
        pytest.param(with_field("Amount", True), "Amount: is true, expected", id="boolean"),
        pytest.param(with_field("Amount", [[]]), "Amount: is a list, expected", id="list"),
        pytest.param(with_field("Job", 3), "Job: is a number, expected a text", id="number"),
        pytest.param(with_field("Amount", None), "Amount: is null", id="null"),
        pytest.param(with_field("Amount", math.nan), "Amount: is not a finite", id="NaN"),
        pytest.param(with_field("Amount", math.inf), "Amount: is not a finite", id="infinite"),
        pytest.param(with_field("Amount", 10**400), "Amount: is not a finite", id="beyond float"),
        pytest.param(with_field("Amount", 0), "Amount: is 0, allowed from 1", id="too small"),
        pytest.param(with_field("Income", 1e9), "Income: is 1e+09, allowed up to", id="too big"),
        pytest.param(
            with_field("Job", "jester"), "Job: is 'jester', allowed: fixed, others", id="category"
        ),
        pytest.param(with_field("\ud800", 1), "is no field of this model", id="lone surrogate"),
        pytest.param("[]", "the body is a list", id="no object"),
        pytest.param("null", "the body is null", id="null body"),
        pytest.param("{}", "data: expected either", id="nothing asked"),
        pytest.param('{"strData": "x"}', "strData: is no field", id="other Seldon payload"),
        pytest.param('{"data": {"tensor": {}}}', "data.tensor: is no field", id="tensor"),
        pytest.param('{"data": {"ndarray": [[1]]}}', "data.names: expected", id="no names"),
        pytest.param(
            '{"data": {"names": ["Job", "Job"], "ndarray": []}}',
            "Job stands there twice",
            id="twice",
        ),
        pytest.param(
            '{"data": {"names": ["Job"], "ndarray": [["fixed", 1]]}}',
            "data.ndarray[0]: expected a list of 1",
            id="ragged rows",
        ),
        pytest.param('{"jsonData": {"records": []}}', "records: is empty", id="no records"),
        pytest.param(
            '{"jsonData": {"records": [7]}}', "records[0]: is a number", id="record no object"
        ),
        pytest.param(
            json.dumps({"jsonData": {"records": [RECORD] * 1001}}), "allowed up to 1000", id="many"
        ),
        pytest.param('{"meta": 1, "jsonData": {"records": []}}', "meta: expected", id="meta"),
        pytest.param(
            json.dumps({"meta": {"puid": 5}, "jsonData": {"records": [RECORD]}}),
            "meta.puid",
            id="puid",
        ),
        pytest.param("{", "the body is no JSON", id="malformed"),
        pytest.param(b"\xff\xfe\x00", "the body is no JSON", id="no text"),
        pytest.param("", "the body is empty", id="empty"),
        pytest.param("[" * 100_000, "nested too deep", id="deep"),
        pytest.param("9" * 100_000, "the body is no JSON", id="endless number"),
    ],
)
def test_a_bad_request_is_refused_naming_what_is_wrong(
    slot: Any, body: bytes | str, said: str
) -> None:
    answer = post(slot, body)
    assert answer.status_code == 400
    assert said in info(answer)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(slot: Any, kind: str | None) -> None:
    answer = post(slot, with_field("Amount", 5), kind)
    assert answer.status_code == 415
    assert "content-type" in info(answer)


def test_a_body_above_a_mebibyte_is_refused_with_and_without_its_length(slot: Any) -> None:
    big = b" " * (1024 * 1024 + 1)
    assert post(slot, big).status_code == 413
    chunked = httpx.post(
        f"{slot.url}{PREDICTIONS}",
        content=iter([big, big]),
        headers={"content-type": "application/json"},
    )
    assert chunked.status_code == 413
    assert slot.ask().status_code == 200


def test_wrong_paths_and_methods_are_refused_in_json(slot: Any) -> None:
    wrong_method = httpx.get(f"{slot.url}{PREDICTIONS}")
    assert wrong_method.status_code == 405
    assert info(wrong_method)
    assert info(httpx.post(f"{slot.url}/predict", json={})) == "Not Found"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"reward": "much"}, "reward: expected a number"),
        ({"reward": math.nan}, "reward: is not a finite number"),
        ({"reward": 10**400}, "reward: is not a finite number"),
        ({"truth": 1}, "truth: expected an object"),
        ({"colour": {}}, "colour: is no field"),
        ([], "no object"),
    ],
)
def test_bad_feedback_is_refused_naming_the_field(slot: Any, body: Any, said: str) -> None:
    answer = httpx.post(
        f"{slot.url}{FEEDBACK}",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    assert said in info(answer)


def metrics(slot: Any) -> dict[str, float]:
    lines = httpx.get(f"{slot.url}/metrics").text.splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def test_requests_decisions_latency_rewards_and_the_model_are_counted_by_version(slot: Any) -> None:
    before = metrics(slot)
    slot.ask()
    post(slot, with_field("Amount", "x"))
    post(slot, "{")
    rewards = {"reward": -0.5, "truth": {"jsonData": {"outcome": "good"}}}
    assert httpx.post(f"{slot.url}{FEEDBACK}", json=rewards).status_code == 200
    after = metrics(slot)
    counted = {name: value - before.get(name, 0) for name, value in after.items()}
    who = 'slot="a",version="1",workload="credit-risk"'
    assert counted[f'falaj_requests_total{{code="200",{who}}}'] == 1
    assert counted[f'falaj_requests_total{{code="400",{who}}}'] == 2
    assert counted[f'falaj_predictions_total{{decision="negative",{who}}}'] == 1
    assert counted[f"falaj_request_seconds_count{{{who}}}"] == 2
    assert counted[f"falaj_feedback_reward_sum{{{who}}}"] == -0.5
    assert any(name.startswith("falaj_model_info{") and who in name for name in after)


def test_the_openapi_description_names_the_fields_of_the_model(slot: Any) -> None:
    described = httpx.get(f"{slot.url}/openapi.json").json()
    body = described["paths"][PREDICTIONS]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    record = schema["properties"]["jsonData"]["properties"]["records"]["items"]
    assert set(record["properties"]) == set(RECORD)
    asked = {"jsonData": {"records": [record["example"]]}}
    assert httpx.post(f"{slot.url}{PREDICTIONS}", json=asked).status_code == 200


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.one_of(
    JSON_VALUES,
    st.fixed_dictionaries(
        {}, optional={"data": JSON_VALUES, "jsonData": JSON_VALUES, "meta": JSON_VALUES}
    ),
    st.fixed_dictionaries(
        {
            "jsonData": st.fixed_dictionaries(
                {
                    "records": st.lists(
                        st.fixed_dictionaries(
                            {name: JSON_VALUES | st.just(value) for name, value in RECORD.items()}
                        ),
                        max_size=3,
                    )
                }
            )
        }
    ),
)


def test_whatever_json_is_sent_the_answer_is_a_prediction_or_a_refusal(slot: Any) -> None:
    with httpx.Client(base_url=slot.url) as client:

        @settings(max_examples=400)
        @given(MESSAGES)
        def ask(message: Any) -> None:
            for path in (PREDICTIONS, FEEDBACK):
                answer = client.post(
                    path, content=json.dumps(message), headers={"content-type": "application/json"}
                )
                assert answer.status_code in (200, 400), answer.text
                json.loads(answer.text, parse_constant=pytest.fail)

        ask()
    assert "Traceback" not in slot.process.log.read_text()


class Wire:
    """A socket's transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, _name: str) -> None:
        return None

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments: None  # flow control


def answered(*requests: bytes) -> Wire:
    """What leaves for `requests` on one connection."""

    async def hello(_scope: Any, _receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"5")],
            }
        )
        await send({"type": "http.response.body", "body": b"hello"})

    async def speak() -> Wire:
        settings = uvicorn.Config(hello, http=WholeAnswers, lifespan="off", log_level="warning")
        settings.load()
        wire = Wire()
        protocol = WholeAnswers(settings, uvicorn.server.ServerState(), {})
        protocol.connection_made(wire)  # type: ignore[arg-type]
        for request in requests:
            protocol.data_received(request)
            for _ in range(10):
                await asyncio.sleep(0)
        return wire

    return asyncio.run(speak())


def test_head_and_body_of_an_answer_leave_in_one_write() -> None:
    request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    wire = answered(request, request)
    assert len(wire.writes) == 2
    for write in wire.writes:
        assert write.startswith(b"HTTP/1.1 200")
        assert write.endswith(b"\r\n\r\nhello")
    assert not wire.closed


def test_the_last_answer_of_a_connection_leaves_before_it_is_closed() -> None:
    wire = answered(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert len(wire.writes) == 1
    assert wire.writes[0].endswith(b"hello")
    assert wire.closed
