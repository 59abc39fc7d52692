"""The table of predicted seconds: its columns, its constants, and how a measurement takes a prediction's place."""

from pathlib import Path

import pandas as pd

from boxes.records import read_csv, write_csv

COLUMNS = (
    "shape", "schedule", "part", "gpus", "prompts", "forwards", "prefill_seconds", "step_seconds", "launch_seconds",
    "seconds", "one_after_the_other", "floor_seconds", "status", "device", "measured_seconds", "off",
)  # fmt: skip
PREDICTED, MEASURED = "predicted", "measured"
MEASURED_WITH = "tiny-base"  # the model that shapes.py inflates
# One NVIDIA H200, bfloat16: what was measured of it elsewhere, and which part of that is counted on.
FLOPS, BANDWIDTH = 790e12 * 0.6, 4.3e12 * 0.8
LAUNCH = 5e-6  # seconds of a launched kernel
# Seconds of the best known way over 716 prompts on an H200, without an expression (measured elsewhere).
FLOORS = {"7b": 4.1, "13b": 7.8, "34b": 17.4, "70b": 37.0}


def take_measured(path: Path, shape: str, device: str, prompts: int, seconds: float) -> str:
    """Write what was measured of a shape beside its prediction; a line that says how far off that was, "" where there
    is none. A measurement over fewer prompts is no answer to a prediction for all."""
    if not path.exists():
        return ""
    table = read_csv(path, COLUMNS).astype({"device": object, "status": object})
    rows = (table["shape"] == shape) & (table.schedule == MEASURED_WITH) & (table.prompts == prompts)
    if not rows.any():
        return ""
    table.loc[rows, ["status", "device", "measured_seconds"]] = [MEASURED, device, seconds]
    table.loc[rows, "off"] = seconds / table.loc[rows, "seconds"]
    write_csv(path, pd.DataFrame(table, columns=COLUMNS))
    predicted = table.loc[rows, "seconds"].iloc[0]
    return (
        f"{shape}: {seconds:.1f} s on {device}; {predicted:.1f} s were predicted, {seconds / predicted:.2f} times that"
    )
