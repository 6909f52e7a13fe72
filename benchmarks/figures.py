"""What the benchmarks share: a figure beside its floor and its goal, and how figures are kept.

Each program writes its rows and the samples behind them as JSON to ``benchmarks/results/``, and a chart beside it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Row:
    """One figure beside its floor."""

    name: str
    value: float
    unit: str
    floor: float
    ratio: float
    goal: float
    at_least: bool = False

    @property
    def held(self) -> bool:
        """Whether the ratio (or, without a floor, the value) is as good as it should be."""
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal

    def __str__(self) -> str:
        bound = f"{'≥' if self.at_least else '≤'} {self.goal:g}"
        floor = f"{self.floor:9.1f}" if self.floor else " " * 9
        return f"{self.name:<52}{self.value:9.1f} {self.unit:<4}{floor}{self.ratio:8.2f}  {bound:>7}  " + (
            "" if self.held else "MISSED"
        )


def p95(values: Iterable[float]) -> float:
    """The 95th percentile, an observed value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def show(rows: Iterable[Row]) -> None:
    """Prints a table."""
    print(f"{'':<52}{'':>14}{'floor':>9}{'ratio':>8}  {'goal':>7}")
    for row in rows:
        print(row)


def keep(name: str, rows: Iterable[Row], samples: Samples, more: Mapping[str, Any] | None = None) -> None:
    """Writes ``NAME.json`` and the chart ``NAME.png``; samples are in milliseconds, ``more`` is for the JSON only."""
    RESULTS.mkdir(exist_ok=True)
    figures = {"rows": [asdict(row) for row in rows], "samples_ms": samples, **(more or {})}
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2))
    draw(samples, RESULTS / f"{name}.png")


def draw(samples: Samples, path: Path) -> None:
    """The samples as boxes, so that a person can look."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 0.5 * len(samples) + 1.5))
    names = list(samples)
    axes.boxplot([samples[name] for name in names], orientation="horizontal", showfliers=False, whis=(5, 95))
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds: median, quartiles, 5th and 95th percentile")
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
