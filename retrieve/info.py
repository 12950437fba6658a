"""What is in an index, and how far it can be trusted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rubrika import __version__
from rubrika.index.folder import Index, Staleness, staleness
from rubrika.index.manifest import Manifest
from rubrika.retrieve.drift import Drift, drift_of
from rubrika.retrieve.guarantee import Policy, coverage

RATES = (0.01, 0.02, 0.05)  # for which `info` says how much would be automatic


@dataclass(frozen=True)
class Info:
    """What is in an index: its manifest, how many products and categories it has, and what came since it learned."""

    folder: Path
    manifest: Manifest
    products: int
    categories: int
    staleness: Staleness | None
    drift: Drift | None = None  # of the last runs, if that was asked for
    margins: Mapping[str, float] = field(default_factory=dict)  # what the margin view counts for, by learned vector

    @property
    def automatic(self) -> dict[str, float]:
        """The part of the products that would be automatic, by the maximum error rate."""
        return {f"{rate:g}": coverage(self.manifest.calibration.leaf, Policy(rate)) for rate in RATES}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `rubrika info --json` prints them."""
        return self.manifest.to_dict() | {
            "products": self.products,
            "categories": self.categories,
            "automatic": self.automatic,
            "since_learning": asdict(self.staleness) if self.staleness else None,
            "rubrika": __version__,
            **({"drift": self.drift.to_dict()} if self.drift else {}),
        }


def info_of(index: Index, drift: Path | None, runs: int) -> Info:
    """Count what is there; with `drift`, compare the last runs of that file with the calibration."""
    counts = index.store.count(), len(index.store.facet("category_id"))
    drifted = None if drift is None else drift_of(index, drift, runs)
    margins = {name: config.margin for name, config in index.learned.items()}
    return Info(index.folder, index.manifest, *counts, staleness(index), drifted, margins)
