"""All of preflight's measuring of the data, in order. Reads the two files, writes prepared ones beside them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retune_stores.errors import InputError
from retune_trainer import data
from retune_trainer.config import RunConfig
from retune_trainer.data import Format, Table
from retune_trainer.inputs import DataFile
from retune_trainer.log import say
from retune_trainer.measuring import findings, hold_out, leakage, privacy, reading
from retune_trainer.measuring.corrections import Taken
from retune_trainer.measuring.lengths import Lengths
from retune_trainer.measuring.prepared import Prepared, Writer
from retune_trainer.measuring.rows import Rows
from retune_trainer.measuring.scan import Scanned, scan_gold, scan_train
from retune_trainer.measuring.shingles import common
from retune_trainer.measuring.sketch import sketch

MAX_NOTE = 300


@dataclass
class Measurement:
    """What the two sets hold, by the contract's names."""

    format: Format
    train: int
    gold: int
    sketch: str
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    prepared: Prepared | None = None
    fresh: Prepared | None = None


def measure(
    config: RunConfig,
    train: DataFile,
    gold: DataFile,
    tokenizer: Path | None,
    work: Path,
    *,
    corrections: Taken | None = None,
) -> Measurement:
    """Measure the gates `data`, `leakage` and `privacy`, choose what is held out, and write what is trained on.

    Args:
        config: says what is asked.
        train: the training set, on disk.
        gold: the gold set, on disk.
        tokenizer: the base model's tokenizer.json, if it has one.
        work: a folder for the prepared sets.
        corrections: what people corrected, trained on like the training set's own rows.

    Raises:
        InputError: a file or a field of the spec is wrong.
    """
    gates = config.spec.gates
    kinds = privacy.kinds(config)
    lengths = Lengths(tokenizer) if gates.data.mode != "Off" else None
    gold_table, train_table = _gold(config, gold), _train(config, train, corrections)
    if gold_table.format is not train_table.format:
        problem = f"is {gold_table.format.value}, but the training set is {train_table.format.value}"
        raise gold.origin.wrong_format(f"{problem}; both must have the same columns")
    learned = scan_train(config, train_table, lengths)
    judged = scan_gold(gold_table)
    _check_apart(train, gold, learned, judged)
    say("data sets read", train=len(learned), gold=len(judged), format=learned.format.value)

    rows = Rows(learned, judged, _held(config, learned))
    # Corrections near gold were left out by the template of the training set's own rows. By the same one none of the
    # others is near: the gate `leakage` speaks of the training set, whatever people correct.
    template = corrections.template if corrections else common(learned.sample)
    near_gold = leakage.Near(leakage.signed(_gold(config, gold), template)) if gates.leakage.mode != "Off" else None
    wanted = reading.Wanted(
        rows.held,
        rows.signed,
        template,
        duplicates=gates.data.mode != "Off",
        leakage=near_gold,
        finder=privacy.finder(kinds) if gates.privacy.mode != "Off" else None,
        redact=gates.privacy.mode != "Off" and gates.privacy.redact,
        answers=rows.shown if gates.data.mode != "Off" else frozenset(),
        write=bool(learned.empty or corrections),
    )
    prepared, fresh, read = _read(config, _train(config, train, corrections), wanted, kinds, work / "prepared")
    result = Measurement(
        learned.format, len(learned), len(judged), sketch(judged.whole), prepared=prepared, fresh=fresh
    )
    result.details["empty"] = learned.empty_lines
    if lengths is not None:
        numbers, details, note = findings.of_data(config, rows, read, lengths)
        result.measured["data"] = numbers | (corrections.numbers() if corrections is not None else {})
        result.details |= details
        if corrections is not None:
            note = f"{corrections.note(learned.format)} {note}".strip()
        if note:
            result.notes["data"] = note[:MAX_NOTE]
    if near_gold is not None:
        result.measured["leakage"], result.details["leakage"] = findings.of_leakage(rows, near_gold)
    if gates.privacy.mode != "Off":
        result.measured["privacy"] = read.tally.numbers(redacted=gates.privacy.redact)
        result.details["privacy"] = read.tally.details()
    say("measured", **{gate: dict(numbers) for gate, numbers in result.measured.items()})
    return result


def _train(config: RunConfig, train: DataFile, corrections: Taken | None) -> Table:
    dataset = config.spec.dataset
    # Weights are asked of the gold set; where training has them, too, they must be as well formed.
    weight = dataset.weight_field
    table = data.open_table(train.path, train.origin, dataset.format, weight_field=weight, weighted=False)
    return corrections.after(table) if corrections is not None else table


def _gold(config: RunConfig, gold: DataFile) -> Table:
    dataset = config.spec.dataset
    return data.open_table(gold.path, gold.origin, dataset.format, dataset.segment_field, dataset.weight_field)


def _check_apart(train: DataFile, gold: DataFile, learned: Scanned, judged: Scanned) -> None:
    # Sums do not depend on the order of rows.
    same = len(learned) == len(judged) and int(learned.whole.sum()) == int(judged.whole.sum())
    if train.digest == gold.digest or same:
        message = (
            f"{gold.origin.uri} holds the same {len(judged)} examples as {train.origin.uri}; "
            "keep examples apart that are never trained on"
        )
        raise InputError("GoldEqualsTrain", gold.origin.field, message)


def _held(config: RunConfig, learned: Scanned) -> npt.NDArray[np.bool_]:
    rule = config.spec.dataset.hold_out
    if rule is None or learned.times is None:
        return np.zeros(len(learned), bool)
    held = hold_out.choose(learned.asked, learned.times, rule)
    if held.all():
        message = f"all {len(learned)} examples would be held out; lower the fraction, or add older examples"
        raise InputError("DatasetEmpty", "spec.dataset.holdOut.fraction", message)
    return held


def _read(
    config: RunConfig, train: Table, wanted: reading.Wanted, kinds: tuple[str, ...], folder: Path
) -> tuple[Prepared | None, Prepared | None, reading.Read]:
    """The second pass: the prepared sets that it wrote, if any is needed, and what it saw."""
    holds = bool(wanted.held.any())
    with ExitStack() as files:
        if holds or wanted.redact or wanted.write:
            wanted.train = files.enter_context(Writer(folder / "train.jsonl", "train"))
        if holds:
            wanted.fresh = files.enter_context(Writer(folder / "fresh.jsonl", "fresh"))
        if not wanted.anything:
            return None, None, reading.Read.nothing()
        # The finder is made only if there is an answer to show.
        read = reading.read(config, train, wanted, lambda text: privacy.finder(kinds).scrub(text))
    prepared, fresh = (writer.finished() if writer is not None else None for writer in (wanted.train, wanted.fresh))
    return prepared, fresh, read
