"""What an index knows of its own errors: numbers fitted on held-out products by `rubrika tune`, kept in index.json."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# More errors than this among automatic answers are not aimed at, unless asked for.
MAX_ERROR = 0.02
NEVER = 2.0


def least_confidence(risk: Iterable[tuple[float, float]], max_error: float) -> float:
    """The least confidence from which on no more than `max_error` of the answers are wrong; NEVER when there is none.

    Args:
        risk: as of a Calibration.
        max_error: a part, 0 … 1.
    """
    return min((confidence for confidence, error in risk if error <= max_error), default=NEVER)


@dataclass(frozen=True)
class Calibration:
    """How evidence becomes confidence, and confidence a decision; see `retrieve.decide`.

    Args:
        weights: of a constant, the evidence for and the evidence against, in the logistic model of being right.
        scores: places on the scale of that model, ascending.
        confidences: how often predictions at these places were right, made monotonic.
        risk: pairs (confidence, share of errors among predictions at least that confident), from sure to unsure.
        new_below: a product whose nearest neighbour is less similar than this looks like no known category.
        rows: on how many held-out products this was fitted; 0: it came with Rubrika.
    """

    weights: tuple[float, float, float]
    scores: tuple[float, ...]
    confidences: tuple[float, ...]
    risk: tuple[tuple[float, float], ...]
    new_below: float
    rows: int = 0

    def auto_from(self, max_error: float = MAX_ERROR) -> float:
        """The least confidence from which on no more than a part of the answers is wrong; NEVER when there is none."""
        return least_confidence(self.risk, max_error)

    @classmethod
    def of(cls, raw: dict[str, Any]) -> "Calibration":
        """Read what JSON has made of one."""
        lists = {name: tuple(raw[name]) for name in ("weights", "scores", "confidences")}
        return cls(**raw | lists | {"risk": tuple((float(one), float(two)) for one, two in raw["risk"])})


# Of text vectors learned from the labels of uhtt-91k/train.parquet: `rubrika tune` gives an index its own.
# fmt: off
BUILT_IN = Calibration(weights=(0.19, 0.6806, -0.5028), scores=(-1.3272, -1.0094, -0.8592, -0.8229, -0.4547, -0.0373,
    0.3052, 0.495, 0.6248, 0.9308, 1.1192, 1.1996, 1.4415, 1.872, 2.1311, 2.2863, 2.4563, 2.6593, 2.847, 2.9972,
    3.1825, 3.4551, 3.6443, 3.7217, 3.8076, 3.858, 3.9999, 4.2711, 4.5929, 4.8413, 5.0317), confidences=(0.001,
    0.2321, 0.25, 0.3333, 0.4818, 0.5238, 0.5971, 0.625, 0.699, 0.7121, 0.7353, 0.7619, 0.7905, 0.7934, 0.8033,
    0.8289, 0.8667, 0.9124, 0.9213, 0.9412, 0.9455, 0.9469, 0.9573, 0.9702, 0.9735, 0.9792, 0.9856, 0.9942, 0.9956,
    0.997, 0.999), risk=((0.9976300001144409, 0.00086), (0.9964200258255005, 0.0018), (0.9780099987983704, 0.00489),
    (0.9459900259971619, 0.00989), (0.8763800263404846, 0.01488), (0.79680997133255, 0.01999), (0.7791900038719177,
    0.0249), (0.7235400080680847, 0.03), (0.6009899973869324, 0.03989), (0.49289000034332275, 0.04998),
    (0.0010000000474974513, 0.06073)), new_below=0.6589, rows=0)
# fmt: on
