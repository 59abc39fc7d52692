"""The models: their table, where their weights come from, and how they are loaded."""

from boxes.models.checkpoint import Checkpoint, find, find_row
from boxes.models.files import WeightsMissing
from boxes.models.loading import Loaded, load

__all__ = ["Checkpoint", "Loaded", "WeightsMissing", "find", "find_row", "load"]
