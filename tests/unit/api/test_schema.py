"""The CRDs: complete, bounded, structural, and equal to their copies."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from retune.api import FineTuneJobSpec, FineTuneRunSpec, crds
from retune_stores.privacy import KNOWN

CHECKOUT = Path(__file__).resolve().parents[3]
CRDS = {"FineTuneJob": crds.finetunejobs(), "FineTuneRun": crds.finetuneruns()}

Schema = dict[str, Any]


def root(kind: str) -> Schema:
    return CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, one in schema.get("properties", {}).items():
        yield from nodes(one, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


EVERYWHERE = [
    (f"{kind}.{path}", node)
    for kind in CRDS
    for part in ("spec", "status")
    for path, node in nodes(root(kind)["properties"][part], part)
]
STRUCTURAL = {
    "type", "format", "description", "default", "enum", "pattern", "properties", "required", "items",
    "additionalProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "x-kubernetes-validations", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


UNTYPED = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")


def test_every_node_is_what_kubernetes_knows() -> None:
    for path, node in EVERYWHERE:
        assert node.keys() <= STRUCTURAL, path
        assert "type" in node or any(node.get(mark) for mark in UNTYPED), path


def test_the_kinds_of_personal_data_that_may_be_named_are_those_that_can_be_found() -> None:
    privacy = root("FineTuneJob")["properties"]["spec"]["properties"]["gates"]["properties"]["privacy"]
    (rule,) = privacy["properties"]["entities"]["items"]["x-kubernetes-validations"]
    assert tuple(re.findall(r"'(\w+)'", rule["rule"])) == KNOWN
    assert all(kind in rule["messageExpression"] for kind in KNOWN)


def test_every_field_says_what_it_is() -> None:
    for path, node in EVERYWHERE:
        if not path.endswith(("[]", "{}")):
            assert node["description"][:1].isupper(), path
            assert node["description"].endswith("."), path


def bounded(node: Schema) -> bool:
    match node.get("type"):
        case "string":
            return bool({"maxLength", "enum"} & node.keys()) or node.get("format") == "date-time"
        case "array":
            return "maxItems" in node
        case "object":
            return "properties" in node or "maxProperties" in node
        case None:
            return "enum" in node or "maxLength" in node
        case _:
            return True


def test_every_node_is_bounded() -> None:
    unbounded = [path for path, node in EVERYWHERE if not bounded(node)]
    # A JSON Schema inside a spec: Kubernetes has no bound for what it does not know.
    assert {path.rsplit(".", 1)[1] for path in unbounded} == {"schema"}


def test_every_list_says_how_it_is_merged() -> None:
    for path, node in EVERYWHERE:
        if node.get("type") == "array":
            assert "x-kubernetes-list-type" in node or node["items"].get("type") == "number", path


def test_every_rule_says_the_cure_and_points_at_a_field() -> None:
    for path, node in EVERYWHERE:
        for rule in node.get("x-kubernetes-validations", []):
            assert len(rule["message"]) > 20, path
            assert not rule["message"].endswith("."), "the API server goes on after it"
            below = node
            for name in rule.get("fieldPath", "").split(".")[1:]:
                below = below["properties"][name]


def test_a_named_list_has_each_name_once() -> None:
    for path, node in nodes(root("FineTuneJob")["properties"]["spec"], "spec"):
        if node.get("type") == "array" and "name" in node["items"].get("properties", {}):
            named = node["x-kubernetes-list-type"] == "map" and node["x-kubernetes-list-map-keys"] == ["name"]
            assert named or path.endswith("parentRefs"), path


def test_a_snapshot_has_no_defaults_and_one_rule() -> None:
    for path, node in nodes(root("FineTuneRun")["properties"]["spec"], "spec"):
        assert "default" not in node, path
        assert path == "spec" or "x-kubernetes-validations" not in node, path
    (rule,) = root("FineTuneRun")["properties"]["spec"]["x-kubernetes-validations"]
    assert rule["rule"] == "self == oldSelf"


def test_what_is_off_when_absent_has_no_default() -> None:
    spec = root("FineTuneJob")["properties"]["spec"]["properties"]
    off = [spec[name] for name in ("serving", "rollout", "budget", "notifications", "tracking", "artifacts")]
    off += [spec["triggers"]["properties"][name] for name in ("schedule", "newExamples", "drift")]
    off += [spec["gates"]["properties"][name] for name in ("payback", "approvals")]
    off += [spec["serving"]["properties"][name] for name in ("httpRoute", "replicas")]
    assert not any("default" in node for node in off)


def test_defaults_of_a_block_are_those_of_its_fields() -> None:
    for path, node in nodes(root("FineTuneJob")["properties"]["spec"], "spec"):
        if "default" not in node or node.get("type") != "object":
            continue
        of_fields = {name: one["default"] for name, one in node["properties"].items() if "default" in one}
        extra = {"epochs": 3} if path == "spec.training" else {}
        assert node["default"] == of_fields | extra, path


def test_names() -> None:
    names = {kind: crd["spec"]["names"] for kind, crd in CRDS.items()}
    assert {kind: one["plural"] for kind, one in names.items()} == {
        "FineTuneJob": "finetunejobs",
        "FineTuneRun": "finetuneruns",
    }
    assert [one["shortNames"] for one in names.values()] == [["ftj"], ["ftr"]]
    assert all(one["categories"] == ["retune"] for one in names.values())
    assert all(crd["spec"]["group"] == "retune.dev" for crd in CRDS.values())


def test_copies_are_equal() -> None:
    """Run `python -m retune.api.crds` when this fails."""
    assert crds.main(["--check", "--root", str(CHECKOUT)]) == 0


def test_check_shows_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crds.main(["--check", "--root", str(tmp_path)]) == 1
    assert crds.main(["--root", str(tmp_path)]) == 0
    assert crds.main(["--check", "--root", str(tmp_path)]) == 0
    copy = tmp_path / "crds/finetunejobs.yaml"
    copy.write_text(copy.read_text().replace("maxLength: 32", "maxLength: 33"))
    capsys.readouterr()
    assert crds.main(["--check", "--root", str(tmp_path)]) == 1
    assert "-" in capsys.readouterr().out


def test_written_crds_read_the_same_in_yaml_1_1() -> None:
    """A bare `n` or `on` is a boolean to kubectl; PyYAML quotes the latter only."""
    for kind, crd in CRDS.items():
        text = crds.render(crd)
        assert yaml.safe_load(text) == json.loads(json.dumps(crd)), kind
        assert not [line for line in text.splitlines() if line.strip(" -:") in {"n", "y", "N", "Y", "on", "off"}]


@pytest.mark.parametrize("model", [FineTuneJobSpec, FineTuneRunSpec])
def test_pydantic_itself_has_a_schema_for_editors(model: type[FineTuneJobSpec]) -> None:
    assert model.model_json_schema()["type"] == "object"


def test_importing_the_api_brings_nothing_heavy() -> None:
    program = (
        "import sys, retune.api; print(*sorted({'kopf', 'kubernetes', 'aiohttp', 'asyncio'} & sys.modules.keys()))"
    )
    path = {"PYTHONPATH": str(CHECKOUT / "operator")}
    answer = subprocess.run([sys.executable, "-c", program], env=path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
