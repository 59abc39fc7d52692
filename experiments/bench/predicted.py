"""The table of predicted seconds: its columns, its constants, and how a measurement takes a prediction's place."""

import math
from pathlib import Path

import pandas as pd

from boxes.records import read_csv, write_csv

COLUMNS = (
    "shape", "schedule", "part", "gpus", "prompts", "forwards", "prefill_seconds", "step_seconds", "waiting_seconds",
    "seconds", "floor_seconds", "status", "device", "measured_seconds", "off",
)  # fmt: skip
TYPES = {"status": object, "device": object, "measured_seconds": float, "off": float}  # empty columns, too
PREDICTED, MEASURED = "predicted", "measured"
MEASURED_WITH = "tiny-base"  # the model that shapes.py inflates
# One NVIDIA H200, bfloat16: the rates of a large product and of a copy, and which part of them kernels were seen to reach: of
# a prefill of the 7b (28 prompts, 78 TFLOP, 179 GB) all products took 99 ms, everything else 100 ms.
CARD, DTYPE = "H200", "bfloat16"
FLOPS, BANDWIDTH = 790e12 * 0.95, 4.3e12 * 0.5
# Seconds in which Python launches a kernel: 15 to 45 us on three machines with that card.
LAUNCH = 20e-6
# Seconds of the best known way over 716 prompts on an H200, without an expression (measured elsewhere).
FLOORS = {"7b": 4.1, "13b": 7.8, "34b": 17.4, "70b": 37.0}


def put(table: pd.DataFrame, measured: dict) -> float | None:
    """Put seconds that were measured (`shape`, `device`, `prompts`, `measured_seconds`) beside their prediction; what
    was predicted, None where nothing was. Only on the card that the prediction is for `off` says how far off it was."""
    found = (table["shape"] == measured["shape"]) & (table.prompts == measured["prompts"])
    rows = table.index[found & (table.schedule == MEASURED_WITH)]
    if rows.empty:
        return None
    device, seconds = str(measured["device"]), measured["measured_seconds"]
    table.loc[rows, ["status", "device", "measured_seconds"]] = [MEASURED, device, seconds]
    table.loc[rows, "off"] = math.nan
    if CARD in device:
        table.loc[rows, "off"] = seconds / table.loc[rows, "seconds"]
    return float(table.loc[rows[0], "seconds"])


def take_measured(path: Path, row: dict) -> str:
    """Write what was measured of a shape (a row of shapes.csv) beside its prediction; a line that says what became of it.
    A measurement over fewer prompts, or in another dtype, is no answer to a prediction for all in DTYPE."""
    if not path.exists():
        return f"{path}: no such file, so nothing was predicted"
    table, predicted = read_csv(path, COLUMNS).astype(TYPES), None
    if row["dtype"] == DTYPE:
        predicted = put(table, row | {"measured_seconds": row["seconds"]})
    if predicted is None:
        return f"{row['shape']}: nothing was predicted for {row['prompts']} prompts in {row['dtype']}"
    write_csv(path, table[list(COLUMNS)])
    seconds, device = row["seconds"], row["device"]
    said = f"{row['shape']}: {seconds:.1f} s on {device}; {predicted:.1f} s were predicted"
    if CARD in str(device):
        return f"{said}, {seconds / predicted:.2f} times that"
    return f"{said} for an NVIDIA {CARD}"


def keep_measured(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """New predictions, and beside them what an earlier table says was measured."""
    table = table.astype(TYPES)
    if path.exists():
        for row in read_csv(path, COLUMNS).to_dict("records"):
            if row["status"] == MEASURED:
                put(table, row)
    return table
