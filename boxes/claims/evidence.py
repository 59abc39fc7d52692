"""What a claim is judged on: scores, differences of pairs, and the tables of Appendix A."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from boxes.minimal_pairs import COLUMNS as PAIR_COLUMNS
from boxes.records import UserError, read_csv
from boxes.score_tables import (
    RANDOM,
    REPORTED,
    RESTORE,
    SCORE_COLUMNS,
    Score,
    Scores,
    read_scores,
    reported_scores,
    score_of,
    with_accuracy,
)
from boxes.scoring import AUTHORS
from boxes.statistics import Difference, unpaired_difference

PAIR_TABLES = ("code.csv", "math.csv", "alignment.csv")


class NotRun(Exception):
    """A claim asks for what was not run; the text says what."""


@dataclass(frozen=True)
class Evidence:
    """scores by (model, num_ops); differences by (base, treated, num_ops); decoding ("all" queries)
    by (model, "constrained" | "free"); constraint_gains: constrained minus free over all queries,
    by model; formats: the prompt format that did best on the development set, by model."""

    scores: Scores
    differences: dict[tuple[str, str, str], Difference] = field(default_factory=dict)
    decoding: Scores = field(default_factory=dict)
    constraint_gains: dict[str, Difference] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)

    def score(self, model: str, num_ops: str) -> Score:
        """NotRun where the model was not run or the bucket holds no query."""
        score = self.scores.get((model, num_ops))
        if score is None or not score.n:
            raise NotRun(model if score is None else f"no queries with {num_ops} operations")
        return score

    def random(self, num_ops: str) -> float:
        """The expected accuracy of the random baseline, in per cent."""
        return self.score(RANDOM, num_ops).accuracy

    def gain(self, base: str, treated: str, num_ops: str) -> Difference:
        """Treated minus base: paired where single answers are known, else Newcombe's."""
        first, second = self.score(base, num_ops), self.score(treated, num_ops)
        return self.differences.get((base, treated, num_ops)) or _unpaired(first, second)

    def constraint_gain(self, model: str) -> tuple[Score, Score, Difference]:
        """Free and constrained decoding of a model, and constrained minus free over all queries, an
        interval as in gain."""
        pair = [self.decoding.get((model, kind)) for kind in ("free", "constrained")]
        if pair[0] is None or pair[1] is None:
            raise NotRun(f"free and constrained decoding of {model}")
        return pair[0], pair[1], self.constraint_gains.get(model) or _unpaired(*pair)


def _unpaired(base: Score, treated: Score) -> Difference:
    sides = ((score.accuracy, score.low, score.high) for score in (base, treated))
    return unpaired_difference(*sides)


def read_evidence(results: Path) -> Evidence:
    """The evidence of a results folder. scores.csv must be there; other tables may be."""
    scores = read_scores(results / "scores.csv")
    differences: dict[tuple[str, str, str], Difference] = {}
    for name in PAIR_TABLES:
        if (results / name).exists():
            table = read_csv(results / name, PAIR_COLUMNS)
            for row in table[(table.status == "complete") & (table.n > 0)].itertuples():
                key = (row.base, row.treated, row.num_ops)
                differences[key] = Difference(row.difference, row.ci_low, row.ci_high, row.interval)
    return Evidence(scores, differences, *_decoding(results), formats=_formats(results))


def _decoding(results: Path) -> tuple[dict[tuple[str, str], Score], dict[str, Difference]]:
    path = results / "constrained.csv"
    if not path.exists():
        return {}, {}
    gain = ("gain", "gain_low", "gain_high", "interval")
    table = read_csv(path, ("model", "decoding", "scorer", *SCORE_COLUMNS[1:], *gain))
    # The paper measured free decoding with the authors' scorer.
    table = table[(table.num_ops == "all") & (table.n > 0) & (table.scorer == AUTHORS)]
    gains = {
        row.model: Difference(row.gain, row.gain_low, row.gain_high, row.interval)
        for row in table[table.decoding == "constrained"].itertuples()
    }
    return {(row.model, row.decoding): score_of(row) for row in table.itertuples()}, gains


def _formats(results: Path) -> dict[str, str]:
    path = results / "prompt_format.csv"
    if not path.exists():
        return {}
    table = read_csv(path, ("model", "format", "chosen"))
    return {row.model: row.format for row in table[table.chosen == 1].itertuples()}


def reported_evidence(folder: Path | str = REPORTED) -> Evidence:
    """The paper's own numbers: Table 6 and what Appendix A prints (of free decoding one accuracy,
    as a count)."""
    table = reported_scores(folder)
    scores = {(row.model, row.num_ops): score_of(row) for row in table.itertuples()}
    decoding = {}
    for key, value in reported_text(folder).items():
        model, num_ops, *free = key.split("/")
        if free == ["free"]:
            constrained = scores[model, num_ops]
            right = round(value * constrained.n / 100)
            counts = pd.DataFrame({"n": [constrained.n], "correct": [right]})
            decoding[model, "free"] = score_of(next(with_accuracy(counts).itertuples()))
            decoding[model, "constrained"] = constrained
    return Evidence(scores, decoding=decoding)


def reported_text(folder: Path | str = REPORTED) -> dict[str, float]:
    """The paper's text: per cent by "MODEL/NUM_OPS" or "MODEL/NUM_OPS/free"."""
    path = Path(folder) / "text.csv"
    table = read_csv(path, ("key", "value", "section"), mend=RESTORE)
    if table.key.duplicated().any():
        raise UserError(f"{path}: a key stands twice; restore the file from the repository")
    return dict(zip(table.key, table.value, strict=True))
