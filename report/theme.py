"""Colours and the stylesheet, written once: a page has them as variables, light or dark; a picture has the light."""

from collections.abc import Callable, Mapping

SERIES = 8
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

# The series differ in lightness too, so that neighbours stay apart for the colour-blind and on paper.
LIGHT: Mapping[str, str] = {
    "surface": "#fcfcfb",
    "panel": "#f4f3ef",
    "ink": "#0b0b0b",
    "quiet": "#52514e",
    "grid": "#e1e0d9",
    "line": "#b5b4aa",
    "rest": "#b5b4aa",
    "accent": "#2a78d6",
    "c1": "#2a78d6",
    "c2": "#eb6834",
    "c3": "#1baf7a",
    "c4": "#eda100",
    "c5": "#e87ba4",
    "c6": "#008300",
    "c7": "#4a3aa7",
    "c8": "#e34948",
}
DARK: Mapping[str, str] = {
    "surface": "#1a1a19",
    "panel": "#252523",
    "ink": "#ffffff",
    "quiet": "#c3c2b7",
    "grid": "#2f2f2d",
    "line": "#5a5954",
    "rest": "#5a5954",
    "accent": "#3987e5",
    "c1": "#3987e5",
    "c2": "#d95926",
    "c3": "#199e70",
    "c4": "#c98500",
    "c5": "#d55181",
    "c6": "#008300",
    "c7": "#9085e9",
    "c8": "#e66767",
}


def chart_style(colour: Callable[[str], str]) -> str:
    """The rules for charts; `colour` says how a colour of the theme is written."""
    series = {f"c{number}": colour(f"c{number}") for number in range(1, SERIES + 1)} | {"c0": colour("rest")}
    rules = [
        f"svg text{{font-family:{FONT};font-size:12px;fill:{colour('quiet')}}}",
        f"svg .name{{fill:{colour('ink')}}}",
        f"svg .grid{{stroke:{colour('grid')};stroke-width:1}}",
        f"svg .axis{{stroke:{colour('line')};stroke-width:1}}",
        f"svg .aim{{stroke:{colour('line')};stroke-width:1.5;stroke-dasharray:4 4;fill:none}}",
        "svg .line{fill:none;stroke-width:2;stroke-linejoin:round}",
        f"svg .point{{stroke:{colour('surface')};stroke-width:0.5}}",
        "svg .cell{stroke-width:0}",
        *(f"svg .line.{name}{{stroke:{value}}}svg .fill.{name}{{fill:{value}}}" for name, value in series.items()),
    ]
    return "\n".join(rules)


def page_style() -> str:
    """The whole stylesheet of a page; on paper it is always light."""
    return "\n".join(
        [
            f":root{{color-scheme:light dark;{_variables(LIGHT)}}}",
            f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}",
            _PAGE,
            chart_style(lambda name: f"var(--{name})"),
        ]
    )


def _variables(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


_PAGE = f"""body{{margin:0 auto;padding:24px 16px 64px;max-width:60rem;background:var(--surface);color:var(--ink);
font:16px/1.5 {FONT}}}
h1{{font-size:1.7rem;line-height:1.2;margin:0 0 .5rem}}
h2{{font-size:1.2rem;margin:2.5rem 0 .5rem}}
p,figcaption,li{{max-width:46rem}}
figure{{margin:1rem 0;break-inside:avoid}}
figcaption,.note{{color:var(--quiet);font-size:.875rem}}
svg{{display:block;width:100%;height:auto;max-width:46rem}}
.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;margin:.5rem 0}}
th,td{{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--grid);
overflow-wrap:anywhere}}
th{{color:var(--quiet);font-weight:600}}
.number{{text-align:right;white-space:nowrap;overflow-wrap:normal}}
.figures{{display:flex;flex-wrap:wrap;gap:.75rem;padding:0;margin:1rem 0;list-style:none}}
.figures li{{background:var(--panel);border-radius:8px;padding:.6rem 1rem}}
.figures b{{display:block;font-size:1.5rem;line-height:1.3}}
.figures span{{color:var(--quiet);font-size:.875rem}}
.products{{display:flex;flex-wrap:wrap;gap:.5rem 1rem;padding:0;list-style:none;font-size:.875rem}}
.products li{{width:10.5rem;overflow-wrap:anywhere}}
.products img{{display:block;max-width:6rem;max-height:6rem;border-radius:4px}}
@media print{{body{{max-width:none;padding:0;font-size:11pt}}h2{{break-after:avoid}}tr,li{{break-inside:avoid}}
.scroll{{overflow:visible}}*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}}}"""
