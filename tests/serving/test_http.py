"""The HTTP server: its answers, its refusals, the versions that it serves, and what it never shows."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served_model import Folders, save_bundle, spoil
from starlette.testclient import TestClient

from gensr_model.errors import ConfigError
from gensr_model.serving.event_log import EventLog
from gensr_model.serving.explain import Explanation, explain
from gensr_model.serving.http.app import DEFAULT, Settings, create_app
from gensr_model.serving.http.batching import Batcher, Busy
from gensr_model.serving.http.guard import Access
from gensr_model.serving.http.server import bind
from gensr_model.serving.http.versions import Versions
from gensr_model.serving.self_test import Example, SelfTestError, self_test
from gensr_model.serving.service import Answer, ReadRequest, Request, Service
from tasks.serve.follow import Follower
from tasks.serve.serve import Folder, Place

RECOMMEND, SEARCH = "/v1/recommendations", "/v1/search"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path | None]]:
    """Two versions that retrieve, a broken one, and one that ranks the catalogue."""
    root = tmp_path_factory.mktemp("versions")
    first, second, broken = (save_bundle(root, seed=seed) for seed in (0, 1, 2))
    spoil(broken)
    full = save_bundle(root, "full_ranking", 3)
    return {"1": (first, None), "2": (second, None), "broken": (broken, None), "full": (first, full)}


@pytest.fixture
def source(folders: dict[str, tuple[Path, Path | None]]) -> Folders:
    return Folders(folders, "1")


@pytest.fixture
def versions(source: Folders) -> Versions:
    return Versions(source, source.load("1"))


def client_of(versions: Versions, settings: Settings = DEFAULT, **more: Any) -> TestClient:
    return TestClient(create_app(versions, settings, **more), base_url="http://127.0.0.1")


@pytest.fixture
def client(versions: Versions) -> Iterator[TestClient]:
    with client_of(versions) as opened:
        yield opened


def error_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"field", "value", "expected", "message"}
    assert "Traceback" not in answer.text
    return content["error"]  # type: ignore[no-any-return]


def ranked(answer: Any) -> list[tuple[str, float]]:
    assert answer.status_code == 200, answer.text
    return [(item["id"], item["score"]) for item in answer.json()["items"]]


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1", "full"])
@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (RECOMMEND, {"user": "u12"}),
        (RECOMMEND, {"top_n": 3}),
        (RECOMMEND, {"history": ["i1", "i2"], "behaviors": ["src", "rec"], "candidates": ["i4", "i9", "i17"]}),
        (SEARCH, {"user": "u12", "query": "kitchen", "top_n": 4}),
    ],
)
def test_an_answer_is_that_of_the_service_with_fields_of_its_items(
    source: Folders, version: str, path: str, request_: dict[str, Any]
) -> None:
    served = source.load(version)
    expected = served.service.answer(Request(**{"top_n": 10, **request_}))  # type: ignore[arg-type]
    with client_of(Versions(source, served)) as client:
        answer = client.post(path, json=request_)
    assert [item for item, _ in ranked(answer)] == expected.items
    assert [score for _, score in ranked(answer)] == pytest.approx(expected.scores)
    content = answer.json()
    for name in ("task", "candidate_source", "history_source", "notes"):
        assert content[name] == getattr(expected, name)
    assert (content["model"], content["version"]) == ("gensr-tiny", version)
    assert content["run_url"].endswith(version)
    item = content["items"][0]
    assert item == {
        "rank": 1, "id": item["id"], "title": served.items.title(item["id"]), "brand": "", "category": "",
        "score": item["score"],
    }  # fmt: skip
    read = served.service.read(Request(**request_))  # type: ignore[arg-type]
    assert [past["id"] for past in content["history"]] == [read.model.raw_ids[i] for i, _ in read.context.history]
    assert all(past["title"].endswith(past["id"][1:]) for past in content["history"])


def test_items_and_users_are_found(client: TestClient) -> None:
    found = client.get("/v1/items", params={"text": "THING kitch", "limit": 3}).json()["items"]
    assert [item["title"].split()[0] for item in found] == ["kitchen"] * 3
    assert client.get("/v1/items/i5").json() == {
        "id": "i5", "title": "garden thing number 5", "brand": "", "category": "", "description": ""
    }  # fmt: skip
    assert client.get("/v1/users", params={"prefix": "u1", "limit": 3}).json() == {"users": ["u1", "u10", "u11"]}
    assert client.get("/v1/users", params={"prefix": "x"}).json() == {"users": []}
    assert len(client.get("/v1/users").json()["users"]) == 20
    assert error_of(client.get("/v1/items/nothing"), 404)["field"] == "id"
    assert error_of(client.get("/v1/items", params={"limit": 1000}), 422)["expected"] == "at most 100"
    assert error_of(client.get("/v1/users", params={"name": "u"}), 422)["field"] == "name"


def test_health_metrics_and_the_description(client: TestClient) -> None:
    client.post(RECOMMEND, json={"user": "u12"})
    client.post(SEARCH, json={})
    assert client.get("/healthz").json() == {"alive": True}
    ready = client.get("/readyz").json()
    assert (ready["ready"], ready["version"], ready["refused"]) == (True, "1", None)
    page = client.get("/metrics").text
    for line in (
        'gensr_requests_total{route="/v1/recommendations",status="200"} 1.0',
        'gensr_requests_total{route="/v1/search",status="422"} 1.0',
        'gensr_answers_total{candidate_source="retrieved",task="recommendation"} 1.0',
        'gensr_version{model="gensr-tiny",version="1"} 1.0',
        "gensr_batch_requests_count 1.0",
    ):
        assert line in page
    described = client.get("/openapi.json").json()["paths"]
    body = described[SEARCH]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["required"] == ["query"]
    for example in body["examples"].values():
        assert client.post(SEARCH, json=example["value"]).status_code == 200


def test_answers_do_not_wait_for_a_full_packet() -> None:
    """TCP_NODELAY is set on connections; else an answer waits 40 ms."""
    delays: list[int] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        delays.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def connect() -> None:
        bound = bind("127.0.0.1", 0)
        async with await asyncio.start_server(accept, sock=bound):
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            await reader.read()
            writer.close()

    asyncio.run(connect())
    assert delays == [1]


def test_before_a_version_is_loaded_the_server_says_so(source: Folders) -> None:
    with client_of(Versions(source)) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        refused = client.post(RECOMMEND, json={})
    assert "No version" in error_of(refused, 503)["message"]
    assert refused.headers["Retry-After"] == "5"


def test_shown_lists_and_clicks_are_logged(versions: Versions, tmp_path: Path) -> None:
    with client_of(versions, events=EventLog(tmp_path)) as client:
        answer = client.post(SEARCH, json={"user": "u12", "query": " kitchen ", "top_n": 2}).json()
        click = {"query_id": answer["query_id"], "action": "click", "item": answer["items"][1]["id"], "position": 2}
        done = client.post("/v1/events", json=click)
        assert (done.status_code, done.json()) == (202, {"logged": True})
        assert error_of(client.post("/v1/events", json=click | {"action": "stole"}), 422)["field"] == "action"
        assert error_of(client.post("/v1/events", json={"action": "click"}), 422)["field"] == "query_id"
        assert error_of(client.post("/v1/events", json=click | {"position": 0}), 422)["field"] == "position"
    (shown,) = [
        json.loads(line)
        for file in tmp_path.glob("queries-*")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    (clicked,) = [
        json.loads(line) for file in tmp_path.glob("events-*") for line in file.read_text(encoding="utf-8").splitlines()
    ]
    assert shown["query_response_hit_ids"] == [item["id"] for item in answer["items"]]
    assert (shown["user_query"], shown["user_id"], shown["query_attributes"]["version"]) == ("kitchen", "u12", "1")
    assert clicked["query_id"] == shown["query_id"] == answer["query_id"]
    assert clicked["event_attributes"]["object"]["object_id"] == click["item"]


def test_explanations_stand_beside_their_items(client: TestClient, versions: Versions) -> None:
    with_them = client.post(SEARCH, json={"user": "u12", "query": "kitchen thing", "explain": True}).json()
    without = client.post(SEARCH, json={"user": "u12", "query": "kitchen thing"}).json()
    assert versions.current is not None
    service = versions.current.service
    read = service.read(Request(user="u12", query="kitchen thing", top_n=10))
    expected = explain(read, service.rank([read])[0])
    for item, explanation in zip(with_them["items"], expected, strict=True):
        shown = item["explanation"]
        assert shown["words"] == explanation.words
        assert shown["filter"]["cf"] == pytest.approx(explanation.filter.cf)
        assert len(shown["filter"]["cf"]) == len(with_them["history"])
    assert set(with_them["explanation_schema"]) >= {"filter", "views", "words"}
    assert "explanation" not in without["items"][0]
    assert "explanation_schema" not in without


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "request_", "field", "message"),
    [
        (RECOMMEND, {"usr": "u1"}, "usr", "did you mean user?"),
        (RECOMMEND, {"query": "lamp"}, "query", "/v1/search"),
        (RECOMMEND, {"user": ["u1"]}, "user", "expected text, got ['u1']"),
        (RECOMMEND, {"user": "u" * 257}, "user", "expected at most 256 characters, got 257 characters"),
        (RECOMMEND, {"user": 10**400}, None, "no JSON"),
        (RECOMMEND, {"history": "i1"}, "history", "expected a list of ids"),
        (RECOMMEND, {"history": ["i1"] * 1001}, "history", "expected at most 1000 ids, got 1001"),
        (RECOMMEND, {"history": ["i1", {}]}, "history", "expected text"),
        (RECOMMEND, {"history": ["i1"], "behaviors": ["bought"]}, "behaviors", "Give one of rec or src"),
        (RECOMMEND, {"behaviors": ["rec"]}, "behaviors", "given without history"),
        (RECOMMEND, {"candidates": []}, "candidates", "at least one item id"),
        (RECOMMEND, {"candidates": ["i1", "gone"]}, "candidates", "does not know the candidates ['gone']"),
        (RECOMMEND, {"top_n": 0}, "top_n", "Give 1 or more"),
        (RECOMMEND, {"top_n": 1001}, "top_n", "expected at most 1000"),
        (RECOMMEND, {"top_n": True}, "top_n", "expected a whole number, got True"),
        (RECOMMEND, {"explain": "yes"}, "explain", "expected true or false"),
        (SEARCH, {"user": "u1"}, "query", "expected words"),
        (SEARCH, {"query": " \n"}, "query", "expected words"),
        (SEARCH, {"query": "x" * 2001}, "query", "expected at most 2000 characters"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(
    client: TestClient, path: str, request_: dict[str, Any], field: str | None, message: str
) -> None:
    error = error_of(client.post(path, json=request_), 422 if field else 400)
    assert error["field"] == field
    assert message in error["message"]
    assert error["expected"]
    assert len(error["message"]) <= 600


def test_numbers_are_ids_as_their_text(client: TestClient) -> None:
    noted = client.post(RECOMMEND, json={"user": 12, "history": None}).json()["notes"]
    assert noted == ["user '12' is unknown: the answer has no history"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"null", b'"u1"', b"\xff", b'{"user": "\\ud800"}', b"[" * 5_000],
    ids=["empty", "half", "list", "null", "text", "no UTF-8", "surrogate", "deep"],
)
def test_a_body_that_is_no_object_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post(RECOMMEND, content=body, headers={"Content-Type": "application/json"})
    assert error_of(answer, 400)["expected"] == "a JSON object"


def test_a_large_body_a_form_and_an_unknown_address_are_refused(client: TestClient) -> None:
    error = error_of(client.post(RECOMMEND, json={"user": "u" * 700_000}), 413)
    assert error["expected"] == "at most 600000 bytes"
    assert error_of(client.post(RECOMMEND, data={"user": "u1"}), 400)["field"] == "Content-Type"
    assert "/openapi.json" in error_of(client.get("/v1/recommend"), 404)["message"]
    assert "Method" in error_of(client.get(SEARCH), 405)["message"]


def test_a_fault_is_500_with_an_id_and_only_the_log_has_its_trace(
    client: TestClient, versions: Versions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert versions.current is not None
    monkeypatch.setattr(versions.current.service, "rank", lambda reads: 1 / 0)
    error = error_of(client.post(RECOMMEND, json={"user": "u12"}), 500)
    request_id = error["message"].split()[-1].rstrip(".")
    assert request_id in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "division" not in error["message"]


def test_a_request_that_breaks_its_batch_breaks_only_itself(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert versions.current is not None
    service = versions.current.service
    rank, sizes = service.rank, []

    def sometimes(reads: Any) -> Any:
        sizes.append(len(reads))
        if any(read.request.user == "u3" for read in reads):
            raise ValueError("no answer for u3")
        return rank(reads)

    monkeypatch.setattr(service, "rank", sometimes)
    reads = [service.read(Request(user=f"u{n}", candidates=["i1", "i2"])) for n in range(6)]
    with held(service) as batcher:
        results = [batcher.submit(service, read) for read in reads]
    for number, result in enumerate(results):
        if number == 3:
            assert isinstance(result.exception(10), ValueError)
        else:
            assert result.result(10).answer == rank([reads[number]])[0]
    assert sizes == [1, 6, 1, 1, 1, 1, 1, 1], "the first by itself, then all together, then each"


class held:
    """A batcher whose thread is busy until the block ends."""

    def __init__(self, service: Service, **settings: Any) -> None:
        self.service, self.batcher = service, Batcher(**settings)
        self.go = threading.Event()

    def __enter__(self) -> Batcher:
        def wait(read: ReadRequest, answer: Answer) -> list[Explanation]:
            self.go.wait(30)
            return []

        self.first = self.batcher.submit(self.service, self.service.read(Request()), wait)
        while not self.first.running():
            time.sleep(0.001)
        return self.batcher

    def __exit__(self, *error: object) -> None:
        self.go.set()
        self.batcher.close()


def test_a_full_queue_is_refused_and_a_late_answer_too(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions.current is not None
    service = versions.current.service
    with held(service, waiting=2) as batcher:
        read = service.read(Request(user="u1"))
        waiting = [batcher.submit(service, read) for _ in range(2)]
        with pytest.raises(Busy):
            batcher.submit(service, read)
        assert waiting[0].cancel(), "nobody waits for it any more"
    assert waiting[1].result(10).answer.items

    go = threading.Event()

    def slow(read: ReadRequest, answer: Answer) -> list[Explanation]:
        go.wait(30)
        return []

    settings = Settings(seconds=0.3, waiting=1)
    with client_of(versions, settings, explain=slow) as client, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.post, RECOMMEND, json={"explain": True}) for _ in range(4)]
        answers = [one.result(20) for one in asked]
        go.set()
    assert sorted({answer.status_code for answer in answers}) == [429, 504]
    for answer in answers:
        error_of(answer, answer.status_code)
        assert int(answer.headers["Retry-After"]) > 0


def test_other_machines_need_the_key(versions: Versions) -> None:
    settings = Settings(Access("secret-ü", only_this_machine=False))
    with client_of(versions, settings) as client:
        for headers in ({}, {"X-API-Key": "wrong"}):
            assert error_of(client.post(RECOMMEND, json={}, headers=headers), 401)["field"] == "X-API-Key"
        right = {"X-API-Key": "secret-ü".encode(), "Host": "shop.example"}
        assert client.post(RECOMMEND, json={}, headers=right).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/healthz").status_code == client.get("/").status_code == 200
    with pytest.raises(ConfigError, match="GENSR_API_KEY"):
        Place("0.0.0.0", 0, None).access()
    assert Place("0.0.0.0", 0, "k").access() == Access("k", only_this_machine=False)
    assert Place("::1", 0, None).access() == Access(None, only_this_machine=True)


def test_a_page_of_another_site_cannot_ask_through_its_name(client: TestClient) -> None:
    assert error_of(client.get("/v1/users", headers={"Host": "evil.example:80"}), 400)["field"] == "Host"
    for host in ("127.0.0.1:8080", "localhost", "[::1]:80", "[::1]"):
        assert client.get("/v1/users", headers={"Host": host}).status_code == 200


# --- versions ----------------------------------------------------------------------------------------------------


def test_a_request_may_name_a_version_and_few_stay_in_memory(source: Folders, client: TestClient) -> None:
    own = ranked(client.post(RECOMMEND, json={"user": "u12"}))
    other = ranked(client.post(RECOMMEND, json={"user": "u12", "version": 2}))
    assert own != other == ranked(client.post(RECOMMEND, json={"user": "u12", "version": "2"}))
    assert ranked(client.post(RECOMMEND, json={"user": "u12", "version": "1"})) == own
    assert source.loaded == ["1", "2"]
    for version in ("full", "copy", "full", "2"):
        source.folders = source.folders | {"copy": source.folders["1"]}
        assert client.post(RECOMMEND, json={"version": version}).json()["version"] == version
    assert source.loaded == ["1", "2", "full", "copy", "2"], "of 2, full and copy the last two stay"
    assert error_of(client.post(RECOMMEND, json={"version": "9"}), 404)["field"] == "version"
    assert "self-test" in error_of(client.post(RECOMMEND, json={"version": "broken"}), 422)["message"]
    assert client.get("/v1/versions").json()["serving"] == "1"


def test_the_alias_is_followed_and_a_broken_version_refused(
    source: Folders, versions: Versions, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    follower = Follower(versions, source.champion)
    follower.look()
    assert source.loaded == ["1"]
    source.alias = "2"
    follower.look()
    assert client.post(RECOMMEND, json={}).json()["version"] == "2"
    source.alias = "broken"
    with caplog.at_level(logging.ERROR):
        follower.look()
        follower.look()
    assert source.loaded == ["1", "2", "broken"], "it is tried once"
    assert "version broken is refused, and version 2 goes on: the self-test failed" in caplog.text
    assert client.post(RECOMMEND, json={}).json()["version"] == "2"
    refused = client.get("/readyz")
    assert (refused.status_code, refused.json()["refused"]["version"]) == (200, "broken")
    assert 'gensr_refused_version{version="broken"} 1.0' in client.get("/metrics").text
    source.alias = "2"
    follower.look()
    assert client.get("/readyz").json()["refused"] is None
    source.alias = "9"
    follower.look()
    assert client.get("/readyz").json()["refused"] == {"version": "9", "reason": "gensr-tiny has no version 9."}


def test_a_registry_that_cannot_be_reached_changes_nothing(
    versions: Versions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down() -> str:
        raise OSError("connection refused")

    follower = Follower(versions, down)
    for _ in range(3):
        follower.look()
    assert caplog.text.count("connection refused") == 1
    assert versions.refused is None
    monkeypatch.setattr(versions.source, "listing", down)
    with client_of(versions) as client:
        assert client.get("/v1/versions").json()["versions"][0]["version"] == "1"


def test_the_self_test_compares_with_saved_examples(source: Folders) -> None:
    served = source.load("1")
    answer = served.service.answer(Request(user="u12", top_n=5))
    example = Example(Request(user="u12", top_n=5), answer.items, answer.scores)
    self_test(served.service, served.items, [example])
    moved = example._replace(scores=[score + 0.01 for score in answer.scores])
    with pytest.raises(SelfTestError, match="differs from the saved example"):
        self_test(served.service, served.items, [moved])


def test_a_bundle_folder_is_one_version(folders: dict[str, tuple[Path, Path | None]]) -> None:
    source = Folder(folders["1"][0])
    versions = Versions(source, source.load(source.version))
    with client_of(versions) as client:
        assert client.post(RECOMMEND, json={}).json()["version"] == "bundle"
        assert error_of(client.post(RECOMMEND, json={"version": "2"}), 404)["field"] == "version"
