"""What was seen, as the contract's numbers and details: no file is read here."""

from __future__ import annotations

from typing import Any

import numpy as np

from retune_trainer.config import RunConfig
from retune_trainer.measuring import duplicates, leakage, reading
from retune_trainer.measuring.balance import Classes
from retune_trainer.measuring.duplicates import SHOWN, Indices
from retune_trainer.measuring.lengths import Lengths, summary
from retune_trainer.measuring.reading import Read
from retune_trainer.measuring.rows import Rows

Numbers = dict[str, float]
Details = dict[str, Any]


def of_data(config: RunConfig, rows: Rows, read: Read, lengths: Lengths) -> tuple[Numbers, Details, str]:
    """The numbers, details and note of the data gate."""
    numbers, details = _copies(rows, read)
    notes = []
    if len(read.signatures) == reading.MOST:
        notes.append(f"Near copies were looked for among the first {reading.MOST:,} rows.")
    contradicting = sum(len(group) for group in rows.contradictions)
    numbers |= {
        "conflicts": contradicting,
        "conflictFraction": round(contradicting / len(rows.trained), 6),
        "empty": rows.learned.empty,
    }
    details["conflicts"] = [
        {"lines": _lines(rows, group), "answers": list(dict.fromkeys(read.answers[int(row)] for row in group))}
        for group in rows.shown_contradictions
    ]
    if rows.learned.lengths is not None:
        sizes = rows.learned.lengths[rows.trained]
        numbers["tooLong"] = int((sizes > config.spec.training.max_length).sum())
        numbers["tooLongFraction"] = round(numbers["tooLong"] / len(rows.trained), 6)
        details["lengths"] = summary(sizes, lengths.unit)
        notes.append(lengths.note)
    if config.spec.dataset.annotators_field is not None:
        if rows.learned.alpha is None:
            notes.append("No agreement: no row has two labels, or all labels are the same.")
        else:
            numbers["agreement"] = round(rows.learned.alpha, 6)
    balance = config.spec.gates.data.production_balance
    if balance is not None and rows.learned.classes is not None:
        counts = np.bincount(rows.learned.classes[rows.trained], minlength=len(balance.expected) + 1)
        distance, details["balance"] = Classes(balance.expected).compare([int(count) for count in counts])
        numbers["divergence"] = round(distance, 6)
    if config.spec.dataset.hold_out is not None:
        numbers["heldOut"] = int(rows.held.sum())
    return numbers, details, " ".join(note for note in notes if note)


def of_leakage(rows: Rows, near: leakage.Near) -> tuple[Numbers, Details]:
    """The numbers and details of the leakage gate. A gold example counts as near only if it is no exact copy."""
    gold, lines = rows.judged.lines, rows.learned.lines
    exact = leakage.exact(rows.judged.asked, rows.learned.asked[rows.trained])
    leaked = np.flatnonzero(exact >= 0)
    alike = np.flatnonzero((exact < 0) & (near.rows >= 0))
    numbers: Numbers = {
        "gold": len(gold),
        "exact": len(leaked),
        "near": len(alike),
        "nearFraction": round(len(alike) / len(gold), 6),
    }
    return numbers, {
        "exact": leakage.shown(gold[leaked], lines[rows.trained[exact[leaked]]]),
        "near": leakage.shown(gold[alike], lines[near.rows[alike]], near.alike[alike]),
    }


def _copies(rows: Rows, read: Read) -> tuple[Numbers, Details]:
    count = len(rows.trained)
    copies = np.flatnonzero(rows.first != rows.trained)
    near = duplicates.near(read.signatures, rows.learned.asked[read.rows])
    numbers: Numbers = {
        "examples": count,
        "exactDuplicates": len(copies),
        "nearDuplicates": near.rows,
        "duplicateFraction": round((len(copies) + near.rows) / count, 6),
    }
    exact = [_lines(rows, np.array([rows.first[place], rows.trained[place]])) for place in copies[:SHOWN]]
    pairs = [[*_lines(rows, read.rows[[a, b]]), alike] for a, b, alike in near.pairs]
    return numbers, {"duplicates": {"exact": exact, "near": pairs}}


def _lines(rows: Rows, numbers: Indices) -> list[int]:
    return [int(line) for line in rows.learned.lines[numbers]]
