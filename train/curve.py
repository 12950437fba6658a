"""Draws how a fine-tuning went, as a small SVG that reads on light and on dark pages, and keeps its figures as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HISTORY, CURVE = "history.json", "curve.svg"

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 52, 60, 40, 40
STYLE = """
    text { font: 12px system-ui, sans-serif; fill: #57606a }
    .title { font-size: 14px; font-weight: 600; fill: #1f2328 }
    .page { fill: #ffffff } .grid { stroke: #d0d7de }
    .line { fill: none; stroke-width: 2; stroke-linejoin: round }
    .f1 { stroke: #0969da } .loss { stroke: #bc4c00; stroke-dasharray: 5 4 }
    text.f1 { fill: #0969da; stroke: none } text.loss { fill: #bc4c00; stroke: none }
    circle { fill: #0969da }
    @media (prefers-color-scheme: dark) {
      text { fill: #9198a1 } .title { fill: #f0f6fc } .page { fill: #0d1117 } .grid { stroke: #3d444d }
      .f1 { stroke: #4493f8 } .loss { stroke: #f0883e }
      text.f1 { fill: #4493f8 } text.loss { fill: #f0883e } circle { fill: #4493f8 }
    }"""


@dataclass(frozen=True, slots=True)
class Moment:
    """A measurement: after which step and time, the mean training loss since the last, held-out weighted F1."""

    step: int
    seconds: float
    loss: float
    f1: float


def write_history(folder: Path, history: Sequence[Moment]) -> None:
    """Write `history.json` and `curve.svg`."""
    figures = [asdict(moment) for moment in history]
    (folder / HISTORY).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (folder / CURVE).write_text(curve(history), encoding="utf-8")


def curve(history: Sequence[Moment]) -> str:
    """Weighted F1 (left scale, 0 to 1) and training loss (right scale) over steps."""
    last = history[-1].step
    highest = max(moment.loss for moment in history) or 1.0
    best = max(history, key=lambda moment: (moment.f1, moment.step))

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def up(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def line(kind: str, share: Callable[[Moment], float]) -> str:
        points = " ".join(f"{across(moment.step):.1f},{up(share(moment)):.1f}" for moment in history)
        return f'<polyline class="line {kind}" points="{points}"/>'

    def label(x: float, y: float, words: str, anchor: str = "middle", kind: str = "") -> str:
        return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'

    parts = [
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        label(LEFT, 22, f"Held-out weighted F1: {best.f1:.3f} at step {best.step}", "start", "title"),
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = up(share)
        parts += [
            f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>',
            label(LEFT - 8, y + 4, f"{share:g}", "end"),
            label(WIDTH - RIGHT + 8, y + 4, f"{share * highest:.3g}", "start"),
            label(across(share * last), HEIGHT - 20, f"{share * last:,.0f}"),
        ]
    parts += [
        line("loss", lambda moment: moment.loss / highest),
        line("f1", lambda moment: moment.f1),
        f'<circle cx="{across(best.step):.1f}" cy="{up(best.f1):.1f}" r="4"/>',
        label(across(last / 2), HEIGHT - 5, "step"),
        label(LEFT, HEIGHT - 5, "— weighted F1", "start", "f1"),
        label(WIDTH - RIGHT, HEIGHT - 5, "- - training loss", "end", "loss"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Weighted F1 and training loss over {last} steps">\n<style>{STYLE}\n</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
