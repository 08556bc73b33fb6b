"""A watch pod: examples are counted, gold questions are asked as users ask, and each end is told by the contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.unit.trainer.fakes import document, rows, run_config, write_rows
from tests.unit.trainer.prompted_model import Waits, completion, serve

from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, StoreError
from retune_trainer import __main__ as entry
from retune_trainer import watching
from retune_trainer.baseline import Patience
from retune_trainer.config import RunConfig

SECRET = "a-secret-of-the-tenant"


def config(watch, **spec) -> RunConfig:
    content = document(**spec)
    return RunConfig.model_validate({**content, "rawSpec": content["spec"], "watch": watch})


def counted(claim, tmp_path, **spec):
    return watching.run(config({"count": True, "probe": None}, **spec), {}, tmp_path / "work")["watch"]["examples"]


def texts(answer):
    """A server of `/v1/completions`, that says `answer` of a prompt; conversations are answered as well."""

    def behave(request):
        prompt = request.body.get("prompt")
        if prompt is None:
            request.answer(200, completion(answer(request.question)))
        else:
            choice = {"index": 0, "text": answer(prompt), "finish_reason": "stop"}
            request.answer(200, json.dumps({"object": "text_completion", "choices": [choice]}).encode())

    return behave


def right(prompt):
    return prompt.replace("gold question", "answer").strip()


def asked(model, examples=5, seed=1, header="x-stable"):
    return {"url": model.url, "model": "triage", "header": header, "examples": examples, "seed": seed}


def probed(model, tmp_path, count=False, patience=None, probe=None, **spec):
    patience = patience or Patience(tries=2, request=5, sleep=Waits())
    watch = {"count": count, "probe": probe or asked(model)}
    return watching.run(config(watch, **spec), {}, tmp_path / "work", patience=patience)


# ------------------------------------------------------------------------------------------------------------ counting


def test_rows_of_the_training_set_are_counted(claim, tmp_path):
    assert counted(claim, tmp_path) == {"train": 12, "corrections": 0}


def test_csv_and_parquet_are_counted_by_their_readers(claim, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (claim / "train.csv").write_text('prompt,completion\n"a\nb",c\nd,e\n')
    pq.write_table(pa.Table.from_pylist(rows(7)), claim / "train.parquet")
    for name, number in (("train.csv", 2), ("train.parquet", 7)):
        dataset = {"train": {"uri": f"pvc://store/{name}"}, "gold": {"uri": "pvc://store/gold.jsonl"}}
        assert counted(claim, tmp_path, dataset=dataset)["train"] == number


def test_an_empty_training_set_has_no_rows_and_is_no_error(claim, tmp_path):
    (claim / "train.jsonl").write_text("")
    assert counted(claim, tmp_path)["train"] == 0


def test_a_manifest_is_believed_and_the_set_is_not_read(claim, tmp_path):
    (claim / "train.jsonl.count").write_text(" 4711\n")
    (claim / "train.jsonl").unlink()
    assert counted(claim, tmp_path)["train"] == 4711


@pytest.mark.parametrize("text", ["", "many", "-3", "1_000", "12 13", "9" * 70, " " * 64 + "12", "\u0663", "1e9"])
def test_a_manifest_that_is_no_number_is_named_with_its_cure(claim, tmp_path, text):
    (claim / "train.jsonl.count").write_text(text)
    with pytest.raises(InputError, match=r"train\.jsonl\.count is not one whole number; write") as error:
        counted(claim, tmp_path)
    assert error.value.field == "spec.dataset.train.uri"


class _Bucket(BaseHTTPRequestHandler):
    """A bucket whose folder may not be listed: what is not there is forbidden, as S3 has it."""

    def do_GET(self):
        found = self.path == "/data/train.jsonl"
        body = b'{"prompt": "a", "completion": "b"}\n' * 3 if found else b"<Error><Code>AccessDenied</Code></Error>"
        self.send_response(200 if found else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_who_may_not_list_the_folder_is_counted_without_a_manifest(claim, tmp_path):
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET}
        keys["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{http.server_address[1]}"
        dataset = {"train": {"uri": "s3://data/train.jsonl", "secretRef": {"name": "data"}}}
        dataset["gold"] = {"uri": "pvc://store/gold.jsonl"}
        order = config({"count": True, "probe": None}, dataset=dataset)
        found = watching.run(order, {Role.TRAIN: Credentials(keys)}, tmp_path / "work")
    finally:
        http.shutdown()
        http.server_close()
    assert found["watch"]["examples"] == {"train": 3, "corrections": 0}


def test_a_missing_training_set_is_named(claim, tmp_path):
    (claim / "train.jsonl").unlink()
    with pytest.raises(InputError, match=r"train\.jsonl does not exist") as error:
        counted(claim, tmp_path)
    assert error.value.reason == "DatasetNotFound"


@pytest.mark.parametrize(("collect", "number"), [(True, 230), (False, 0)])
def test_corrections_count_only_where_they_are_trained_on(claim, tmp_path, collect, number):
    folder = claim / "out" / "ns" / "job" / "corrections" / "2026-03-01"
    folder.mkdir(parents=True)
    for name in ("a-100", "a-200", "b-30"):
        (folder / f"{name}.jsonl").write_text("")
    assert counted(claim, tmp_path, serving={"corrections": {"collect": collect}})["corrections"] == number


def test_counting_holds_one_row_at_a_time(claim, tmp_path):
    with (claim / "train.jsonl").open("w") as file:
        for number in range(4000):
            file.write(json.dumps({"prompt": f"{number} " + "x" * 4000, "completion": "y"}) + "\n")
    counted(claim, tmp_path)  # what is imported on the way is not of the rows
    tracemalloc.start()
    try:
        assert counted(claim, tmp_path)["train"] == 4000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20  # of a file of 16 MB; copying goes by the megabyte


# ------------------------------------------------------------------------------------------------------------- probing


def test_gold_questions_are_asked_verbatim_and_scored_by_the_acceptance_metric(claim, tmp_path):
    with serve(texts(lambda prompt: right(prompt) if prompt != "gold question 3" else "no idea")) as model:
        found = probed(model, tmp_path)
    assert found["watch"] == {
        "examples": None,
        "probe": {"asked": 5, "answered": 5, "score": 4.0, "right": 4, "metric": "ExactMatch"},
    }
    assert (found["outcome"], found["error"]) == ("Succeeded", None)
    assert {request.path for request in model.requests} == {"/v1/completions"}
    assert {request.body["prompt"] for request in model.requests} == {f"gold question {n}" for n in range(5)}
    assert all(request.body["model"] == "triage" and request.body["temperature"] == 0 for request in model.requests)


def test_every_question_says_that_it_is_for_stable_and_is_no_evidence(claim, tmp_path):
    with serve(texts(right)) as model:
        probed(model, tmp_path)
    assert [request.headers.get("X-Stable", request.headers.get("x-stable")) for request in model.requests] == ["1"] * 5


def test_conversations_go_through_the_chat_template(claim, tmp_path):
    def chat(question, answer):
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    write_rows(claim / "gold.jsonl", [chat(f"gold question {n}", f"answer {n}") for n in range(3)])
    with serve(texts(right)) as model:
        found = probed(model, tmp_path)
    assert {request.path for request in model.requests} == {"/v1/chat/completions"}
    assert found["watch"]["probe"]["right"] == 3


def test_a_sample_depends_on_the_seed_alone(claim, tmp_path):
    write_rows(claim / "gold.jsonl", rows(200, "gold"))

    def sampled(seed):
        with serve(texts(right)) as model:
            probed(model, tmp_path, probe=asked(model, examples=10, seed=seed))
        return {request.body["prompt"] for request in model.requests}

    first, again, other = sampled(1), sampled(1), sampled(2)
    assert first == again
    assert len(first) == len(other) == 10
    assert first != other


def test_only_examples_that_the_model_was_accepted_on_are_asked(claim, tmp_path):
    from retune_trainer import evaluation

    write_rows(claim / "gold.jsonl", rows(50, "gold"))
    metric = {"metrics": [{"name": "ExactMatch"}], "acceptance": {"metric": "ExactMatch"}, "maxExamples": 8}
    with serve(texts(right)) as model:
        found = probed(model, tmp_path, probe=asked(model, examples=40), evaluation=metric)
    judged = {f"gold question {n}" for n in evaluation.choose(range(50), 8)}
    assert {request.body["prompt"] for request in model.requests} == judged
    assert found["watch"]["probe"]["asked"] == 8


def test_examples_weigh_as_they_do_in_evaluation(claim, tmp_path):
    write_rows(claim / "gold.jsonl", [{**row, "cost": 3 if n == 0 else 1} for n, row in enumerate(rows(4, "gold"))])
    dataset = {**document()["spec"]["dataset"], "weightField": "cost"}
    with serve(texts(lambda prompt: right(prompt) if prompt == "gold question 0" else "no")) as model:
        found = probed(model, tmp_path, dataset=dataset)["watch"]["probe"]
    assert (found["answered"], found["score"], found["right"]) == (4, 2.0, 1)


def test_an_answer_without_a_word_is_wrong_not_missing(claim, tmp_path):
    with serve(texts(lambda prompt: "")) as model:
        found = probed(model, tmp_path)["watch"]["probe"]
    assert (found["answered"], found["score"], found["right"]) == (5, 0.0, 0)


@pytest.mark.parametrize("metric", ["Top3", "Perplexity"])
def test_a_metric_that_no_server_gives_is_refused_before_anybody_is_asked(claim, tmp_path, metric):
    chosen = {"metrics": [{"name": metric}], "acceptance": {"metric": metric}}
    with serve(texts(right)) as model, pytest.raises(InputError, match=metric) as error:
        probed(model, tmp_path, evaluation=chosen)
    assert error.value.field == "spec.evaluation.acceptance.metric"
    assert model.requests == []


def test_a_server_that_does_not_answer_is_an_end_that_may_pass(claim, tmp_path):
    with serve(lambda request: request.answer(503, b"{}")) as model, pytest.raises(StoreError) as error:
        probed(model, tmp_path)
    assert error.value.exit_code == 65
    assert "baseline" not in error.value.message


def test_a_server_that_does_not_know_the_model_is_told_without_the_question(claim, tmp_path):
    def unknown(request):
        request.answer(404, json.dumps({"error": {"message": "no such model"}, "request": request.body}).encode())

    with serve(unknown) as model, pytest.raises(InputError, match="no such model") as error:
        probed(model, tmp_path)
    assert error.value.reason == "ProbeRefused"
    assert "gold question" not in error.value.message


# ------------------------------------------------------------------------------------------------------------- the pod


def test_what_could_be_had_is_told_when_the_other_could_not(claim, tmp_path):
    (claim / "train.jsonl").unlink()
    with serve(texts(right)) as model:
        found = probed(model, tmp_path, count=True)
    assert found["outcome"] == "Succeeded"
    assert found["watch"]["examples"] is None
    assert found["watch"]["probe"]["right"] == 5
    assert found["error"]["reason"] == "DatasetNotFound"


def test_without_an_order_it_says_who_writes_it(claim, tmp_path):
    with pytest.raises(InputError, match="the operator writes"):
        watching.run(run_config(), {}, tmp_path / "work")


@pytest.fixture
def surroundings(claim, tmp_path, monkeypatch):
    """run.json and the places of a pod; returns a function that runs it to its exit code and its message."""

    def run(watch):
        (tmp_path / "run.json").write_text(json.dumps({**document(), "watch": watch}))
        monkeypatch.setenv("RETUNE_CONFIG", str(tmp_path / "run.json"))
        monkeypatch.setenv("RETUNE_WORK", str(tmp_path / "work"))
        monkeypatch.setenv("RETUNE_TERMINATION_LOG", str(tmp_path / "end"))
        monkeypatch.setenv("RETUNE_TRAIN_AWS_SECRET_ACCESS_KEY", SECRET)
        code = entry.main(["watch"])
        return code, json.loads((tmp_path / "end").read_text())

    return run


def test_the_pod_ends_with_the_contracts_message(surroundings):
    assert surroundings({"count": True, "probe": None}) == (
        0,
        {
            "outcome": "Succeeded",
            "error": None,
            "watch": {"examples": {"train": 12, "corrections": 0}, "probe": None},
        },
    )


def test_the_pod_ends_with_a_reason_and_a_field(claim, surroundings):
    (claim / "train.jsonl").unlink()
    code, message = surroundings({"count": True, "probe": None})
    assert code == 64
    assert message["outcome"] == "Failed"
    assert (message["error"]["reason"], message["error"]["field"]) == ("DatasetNotFound", "spec.dataset.train.uri")


def test_neither_texts_nor_keys_are_said(surroundings, capfd):
    with serve(texts(lambda prompt: f"{prompt} {SECRET}")) as model:
        surroundings({"count": True, "probe": asked(model)})
    said = "".join(capfd.readouterr())
    assert "counted" in said
    assert "asking the serving model" in said
    assert "question" not in said.replace('"questions"', "")
    assert SECRET not in said


def test_a_watch_imports_neither_torch_nor_what_measures():
    program = "import sys, retune_trainer.watching; print(*sorted(sys.modules))"
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert not {"torch", "transformers", "presidio_analyzer", "boto3", "pyarrow"} & set(done.stdout.split())


def test_credentials_are_taken_by_role(claim, tmp_path):
    keys = {Role.GOLD: Credentials({"AWS_SECRET_ACCESS_KEY": SECRET})}
    with serve(lambda request: request.answer(400, json.dumps({"message": f"saw {SECRET}"}).encode())) as model:
        watch = {"count": False, "probe": asked(model)}
        with pytest.raises(InputError) as error:
            watching.run(config(watch), keys, tmp_path / "work", patience=Patience(sleep=Waits()))
    assert SECRET not in error.value.message
