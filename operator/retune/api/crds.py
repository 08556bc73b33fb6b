"""The CustomResourceDefinitions, made from the models.

`python -m retune.api.crds` writes `crds/*.yaml`; with `--check` it shows a difference and exits 1.
Only this command line touches files.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from retune.api.base import CATEGORY, GROUP, VERSION, Rule
from retune.api.job import FineTuneJobSpec, FineTuneJobStatus
from retune.api.run import FineTuneRunSpec, FineTuneRunStatus
from retune.api.schema import Schema, structural

MAX_JOB_NAME = 52
"""Longest name of a job: what is made from it must fit into a label."""

_JOB_RULES = (
    Rule(
        f"size(self.metadata.name) <= {MAX_JOB_NAME}",
        f"metadata.name is longer than {MAX_JOB_NAME} characters; shorten it, as runs and Services are named after it",
    ),
    Rule(
        "self.metadata.name.matches(r'^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be small letters, digits and dashes and start with a letter, as Services do",
    ),
)
_RUN_RULES = (
    # Without this, taking the whole status away would take the two rules on it away as well.
    Rule(
        "!has(oldSelf.status) || has(self.status)",
        "status of a FineTuneRun cannot be taken away; make a new run instead",
    ),
)

_JOB_COLUMNS = (
    ("Phase", "string", ".status.phase"),
    ("Stable", "string", ".status.stable.run"),
    ("Candidate", "string", ".status.candidate.run"),
    ("Weight", "integer", ".status.candidate.weight"),
    ("Drift", "string", '.status.conditions[?(@.type=="DriftDetected")].status'),
    ("Spent", "string", ".status.budget.spent"),
    ("Age", "date", ".metadata.creationTimestamp"),
)
_RUN_COLUMNS = (
    ("Trigger", "string", ".spec.trigger.kind"),
    ("Phase", "string", ".status.phase"),
    ("Progress", "string", ".status.progress.display"),
    ("Uplift", "number", ".status.scores.uplift"),
    ("Weight", "integer", ".status.rollout.weight"),
    ("Cost", "string", ".status.cost.amount"),
    ("Age", "date", ".metadata.creationTimestamp"),
)


def finetunejobs() -> dict[str, Any]:
    """CRD of FineTuneJob."""
    schema = _root(
        "A fine-tuned model, for as long as it lives.",
        structural(FineTuneJobSpec),
        structural(FineTuneJobStatus, snapshot=True),
        _JOB_RULES,
    )
    return _crd("FineTuneJob", "ftj", schema, _JOB_COLUMNS)


def finetuneruns() -> dict[str, Any]:
    """CRD of FineTuneRun."""
    schema = _root(
        "One attempt to make a model, made by the operator for a FineTuneJob.",
        structural(FineTuneRunSpec, snapshot=True),
        structural(FineTuneRunStatus, snapshot=True),
        _RUN_RULES,
    )
    return _crd("FineTuneRun", "ftr", schema, _RUN_COLUMNS)


def _root(description: str, spec: Schema, status: Schema, rules: tuple[Rule, ...]) -> Schema:
    return {
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the API."},
            "kind": {"type": "string", "description": "Kind of the object."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "x-kubernetes-validations": [rule.to_schema() for rule in rules],
    }


def _crd(kind: str, short_name: str, schema: Schema, columns: tuple[tuple[str, str, str], ...]) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path} for name, type_, path in columns
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


class _Plain(yaml.SafeDumper):
    """YAML without anchors: a CRD is read by people and by every tool."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Write everything out."""
        return True


# YAML 1.1, which kubectl reads, takes these letters for booleans, and PyYAML alone would not quote them.
_Plain.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))


def render(crd: dict[str, Any]) -> str:
    """Write a CRD as YAML, with where it comes from on top."""
    body = yaml.dump(crd, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return f"# Made by `python -m retune.api.crds` from operator/retune/api; change the models, not this file.\n{body}"


def files(root: Path) -> dict[Path, str]:
    """Every copy of the CRDs that a checkout holds, and what must be in it."""
    folders = [root / "crds", *(path for path in [root / "charts/retune/files/crds"] if path.is_dir())]
    crds = [finetunejobs(), finetuneruns()]
    return {folder / f"{crd['spec']['names']['plural']}.yaml": render(crd) for folder in folders for crd in crds}


def main(arguments: list[str] | None = None) -> int:
    """Write the CRDs, or with `--check` compare them; 1 when they differ."""
    parser = argparse.ArgumentParser(prog="python -m retune.api.crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; show differences and exit 1")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: the working directory)")
    options = parser.parse_args(arguments)
    differs = False
    for path, wanted in files(options.root).items():
        found = path.read_text(encoding="utf-8") if path.is_file() else ""
        if found == wanted:
            continue
        differs = True
        if options.check:
            lines = difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), str(path), "the models")
            sys.stdout.writelines(lines)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    return 1 if options.check and differs else 0


if __name__ == "__main__":
    sys.exit(main())
