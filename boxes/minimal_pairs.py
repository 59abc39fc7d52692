"""The minimal pairs of Experiments 1-3: treated against base, with intervals and corrected tests."""

import zlib

import numpy as np
import pandas as pd

from boxes.models.pairs import MinimalPair
from boxes.records import UserError
from boxes.score_tables import NUM_OPS, in_bucket
from boxes.statistics import Difference, discordant, holm, mcnemar, newcombe, paired_difference
from boxes.world import NUM_BOXES

QUERY_COLUMNS = ("model", "sample_id", "num_operations", "box", "num_ops", "correct")
COLUMNS = ("base", "treated", "num_ops", "n", "base_accuracy", "treated_accuracy", "difference",
           "ci_low", "ci_high", "interval", "b", "c", "p_mcnemar", "p_holm", "status")  # fmt: skip
KEY = ["sample_id", "num_operations", "box"]  # what names a query
_SEED = 20240531  # of the bootstrap


def compare_pairs(wanted: list[MinimalPair], scores: pd.DataFrame, queries: pd.DataFrame | None) -> pd.DataFrame:
    """COLUMNS, a row for each pair and bucket; one row with status "not run" for a pair with a
    model not run.

    With queries: paired bootstrap over scenarios and McNemar's exact test (MCNEMAR_CAVEAT),
    corrected by Holm over all rows of the experiment. Without: Newcombe's interval from the counts
    (binomial) and no test. b: only base right; c: only treated right.
    """
    rows: list[dict] = []
    run = set(scores.model)
    for pair in wanted:
        names = {"base": pair.base.name, "treated": pair.treated.name}
        if not run.issuperset(names.values()):
            rows.append(names | {"num_ops": "all", "status": "not run"})
        elif queries is None:
            rows += [names | row for row in _unpaired(pair, scores)]
        else:
            rows += [names | row for row in paired_rows(*names.values(), queries)]
    return pair_table(rows)


def pair_table(rows: list[dict]) -> pd.DataFrame:
    """COLUMNS of rows, their tests corrected by Holm over all of them."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"n": "Int64", "b": "Int64", "c": "Int64"})
    return table.assign(p_holm=holm(table.p_mcnemar.astype(float)))


def _unpaired(pair: MinimalPair, scores: pd.DataFrame) -> list[dict]:
    base = scores[scores.model == pair.base.name].set_index("num_ops")
    treated = scores[scores.model == pair.treated.name].set_index("num_ops")
    rows = []
    for name in NUM_OPS:
        counts = (base.correct[name], base.n[name], treated.correct[name], treated.n[name])
        difference = newcombe(*map(int, counts))
        rows.append(_row(name, base.n[name], base.accuracy[name], treated.accuracy[name], difference))
    return rows


def paired_rows(base_name: str, treated_name: str, queries: pd.DataFrame) -> list[dict]:
    """A row a bucket: treated against base on the same queries, of which `queries` has
    QUERY_COLUMNS under both names.

    UserError where the two did not answer the same queries.
    """
    base, treated = _answers(queries, base_name), _answers(queries, treated_name)
    if not base[[*KEY, "num_ops"]].equals(treated[[*KEY, "num_ops"]]):
        raise UserError(
            f"{base_name} and {treated_name} did not answer the same queries; "
            "decode both on one dataset and score again"
        )
    num_ops = base.num_ops.to_numpy().reshape(-1, NUM_BOXES)
    right = base.correct.to_numpy().reshape(-1, NUM_BOXES)
    right_treated = treated.correct.to_numpy().reshape(-1, NUM_BOXES)
    members = np.stack([in_bucket(num_ops, name) for name in NUM_OPS])
    scenarios = base.sample_id.to_numpy().reshape(-1, NUM_BOXES)[:, 0]
    # Seeded by the names, so that a pair's interval is the same whichever other pairs are run.
    rng = np.random.default_rng([_SEED, zlib.crc32(f"{base_name} {treated_name}".encode())])
    rows = []
    differences = paired_difference(right, right_treated, members, scenarios, rng)
    for name, inside, difference in zip(NUM_OPS, members, differences, strict=True):
        n, ours, theirs = int(inside.sum()), right[inside], right_treated[inside]
        row = _row(name, n, _percent(ours), _percent(theirs), difference)
        if n:
            b, c = discordant(ours, theirs)
            row |= {"b": b, "c": c, "p_mcnemar": mcnemar(b, c)}
        rows.append(row)
    return rows


def _answers(queries: pd.DataFrame, model: str) -> pd.DataFrame:
    answers = queries[queries.model == model].sort_values(KEY, ignore_index=True)
    boxes = np.resize(np.arange(NUM_BOXES), len(answers))
    if len(answers) % NUM_BOXES or (answers.box.to_numpy() != boxes).any():
        raise UserError(f"{model}: not {NUM_BOXES} boxes a statement; score again")
    return answers


def _percent(correct: np.ndarray) -> float:
    return 100 * float(correct.mean()) if correct.size else float("nan")


def _row(name: str, n: int, base: float, treated: float, difference: Difference) -> dict:
    return {
        "num_ops": name,
        "n": n,
        "base_accuracy": base,
        "treated_accuracy": treated,
        "difference": difference.points,
        "ci_low": difference.low,
        "ci_high": difference.high,
        "interval": difference.interval,
        "status": "complete",
    }
