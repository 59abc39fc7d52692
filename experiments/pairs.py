"""Experiments 1 to 3 share this: the pairs of a profile, compared on its scores."""

import pandas as pd

from boxes.commandline import add_shared, argument_parser
from boxes.minimal_pairs import QUERY_COLUMNS, compare_pairs
from boxes.models.pairs import MinimalPair, pairs
from boxes.models.table import PROFILES
from boxes.records import UserError, read_csv, write_csv
from boxes.score_tables import read_score_table


def experiment(number: int, description: str) -> None:
    """The command line of Experiment 1, 2 or 3: read scores.csv and queries.csv, write the
    comparison of its pairs."""
    parser = argument_parser(description)
    add_shared(parser, PROFILES, "results", "out_file")
    arguments = parser.parse_args()
    scores = read_score_table(arguments.results / "scores.csv")
    path, queries = arguments.results / "queries.csv", None
    if arguments.profile != "reported":  # the paper's answers to single queries are not published
        queries = read_csv(path, QUERY_COLUMNS, ("num_ops", "correct"))
    try:
        table = compare_all(pairs(number, arguments.profile), scores, queries)
    except UserError as error:  # of the answers, whatever file they are from
        raise UserError(f"{path}: {error}") from None
    write_csv(arguments.out, table)
    missing = (table.status != "complete").sum()
    compared = len(table[["base", "treated"]].drop_duplicates()) - missing
    print(f"{arguments.out}: {compared} pairs compared, {missing} not run")


def compare_all(wanted: list[MinimalPair], scores: pd.DataFrame, queries: pd.DataFrame | None) -> pd.DataFrame:
    """The pairs of the table, and those that were added on this machine: these are corrected for
    apart, so that they change nothing about the others."""
    table = compare_pairs([pair for pair in wanted if not pair.extra], scores, queries)
    added = [pair for pair in wanted if pair.extra]
    if added:
        table = pd.concat([table, compare_pairs(added, scores, queries)])
    return table
