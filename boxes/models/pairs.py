"""Minimal pairs and the panels of Figures 1-3, as they follow from the rows of the model table."""

from dataclasses import dataclass

from boxes.models.table import MORE, ModelSpec, lineage, models_of, size_number, spec_of


@dataclass(frozen=True)
class MinimalPair:
    """The same model without and with one more step of training, or, where the base is a control,
    with as much training on other text. `panel`: its title in figures."""

    experiment: int
    base: ModelSpec
    treated: ModelSpec
    panel: str

    @property
    def extra(self) -> bool:
        """Whether one of the two was added on this machine."""
        return self.base.extra or self.treated.extra

    @property
    def controlled(self) -> bool:
        """Whether the base is a control, so that added data alone make the difference."""
        return self.base.added == MORE


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: title, row (0 or 1) and its lines as (legend label, model, role)."""

    title: str
    lines: tuple[tuple[str, ModelSpec, str], ...]
    row: int = 0


_TRAINED_ON = {1: "code", 2: "math", 3: "alignment"}


def _pair_order(pair: MinimalPair) -> tuple:
    base, treated = pair.base, pair.treated
    if pair.experiment == 2:  # Figure 2: data in the format of instructions first
        kind = (not treated.instruct_data, treated.family != "FLoat")
        return (pair.extra, *kind, treated.family, size_number(treated.size), pair.controlled)
    return (pair.extra, base.family, size_number(base.size), pair.controlled)


def pairs(experiment: int, profile: str, extra: bool = True) -> list[MinimalPair]:
    """The minimal pairs of Experiment 1 (code), 2 (math) or 3 (alignment), in the order of Figures
    1-3, each followed by the same model against a control; then those with a row that was added."""
    found = []
    for spec in models_of(profile, extra):
        if spec.base and spec.added == _TRAINED_ON[experiment]:
            base = spec_of(spec.base)
            titled = spec if experiment == 2 else base
            found.append(MinimalPair(experiment, base, spec, _title(titled)))
            for control in _controls(spec):
                found.append(MinimalPair(experiment, control, spec, f"{_title(titled)}, control"))
    return sorted(found, key=_pair_order)


def _controls(spec: ModelSpec) -> list[ModelSpec]:
    """The rows that had as much training as a committed row, on the text of its base."""
    siblings = [other for other in models_of(spec.profile, extra=False) if other.base == spec.base]
    return [other for other in siblings if other.added == MORE and not spec.extra]


def figure_panels(figure: int, profile: str) -> list[Panel]:
    """The panels of Figure 1, 2 or 3. Figure 3 has those of Figure 1 twice: without and with
    additional code training; behind them, but for the paper's own models, a panel for each aligned
    model that has no place in these, those against a control among them."""
    if figure in (1, 2):
        return [_panel(pair, _TRAINED_ON[figure], pair.panel) for pair in pairs(figure, profile)]
    waiting = pairs(3, profile)
    rows: tuple[list[Panel], list[Panel]] = ([], [])
    uncontrolled = [pair for pair in pairs(1, profile) if not pair.controlled]
    for pair in uncontrolled:
        for row, spec in enumerate((pair.base, pair.treated)):
            aligned = next((other for other in waiting if other.base == spec), None)
            if aligned:
                waiting.remove(aligned)
                rows[row].append(_panel(aligned, "aligned", _title(spec), row))
            else:
                rows[row].append(Panel(_title(spec), ((_legend(spec), spec, "base"),), row))
    for pair in waiting:
        if pair.extra or profile not in ("paper", "reported"):
            row = int(any(step.added == "code" for step in lineage(pair.base)))
            rows[row].append(_panel(pair, "aligned", pair.panel, row))
    return rows[0] + rows[1]


def _panel(pair: MinimalPair, role: str, title: str, row: int = 0) -> Panel:
    lines = ((_legend(pair.base), pair.base, "base"), (_legend(pair.treated), pair.treated, role))
    return Panel(title, lines, row)


def _title(spec: ModelSpec) -> str:
    return f"{spec.family} ({spec.size})"


def _legend(spec: ModelSpec) -> str:
    if spec.elsewhere:
        return spec.label
    if spec.profile == "tiny" or spec.extra:
        return spec.name
    if spec.added != "alignment":
        return spec.family
    kind = "Chat" if spec.prompt_format == "chat" else "Instruct"
    return f"{spec.family}-{kind}"
