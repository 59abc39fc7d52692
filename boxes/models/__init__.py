"""The models: their table, where their weights come from, and how they are loaded."""

from boxes.models.loading import load

__all__ = ["load"]
