"""The silhouettes of the pictures, drawn as patches on a square from -1 to 1 with y pointing down."""

from dataclasses import dataclass
from math import cos, pi, sin

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """One filled outline; the tone darkens (below 1) or lightens (above 1) the product's colour."""

    points: Points
    tone: float = 1.0


def outline(*coordinates: float, tone: float = 1.0) -> Patch:
    """Make a patch of corners given as x, y, x, y and so on."""
    return Patch(tuple(zip(coordinates[::2], coordinates[1::2], strict=True)), tone)


def block(left: float, top: float, right: float, bottom: float, tone: float = 1.0) -> Patch:
    """Make a rectangle."""
    return outline(left, top, right, top, right, bottom, left, bottom, tone=tone)


def disc(x: float, y: float, width: float, height: float, tone: float = 1.0) -> Patch:
    """Make an ellipse of these half axes, as a polygon so that it turns like everything else."""
    turns = [2 * pi * step / 24 for step in range(24)]
    return Patch(tuple((x + width * cos(turn), y + height * sin(turn)) for turn in turns), tone)


# fmt: off
SHAPES: dict[str, tuple[Patch, ...]] = {
    "shoe": (outline(-.9, .1, -.5, -.3, -.2, -.1, .5, .1, .9, .3, .9, .5, -.9, .5), block(-.9, .42, .9, .55, 1.6)),
    "boot": (outline(-.5, -.9, .1, -.9, .1, .1, .8, .3, .8, .7, -.5, .7), block(-.5, .62, .8, .8, .5)),
    "slipper": (disc(0, .2, .9, .35, 1.4), disc(.4, .05, .5, .35)),
    "shirt": (outline(-.9, -.5, -.3, -.8, .3, -.8, .9, -.5, .7, -.1, .5, -.2, .5, .8, -.5, .8, -.5, -.2, -.7, -.1),
              disc(0, -.8, .22, .15, 1.8)),
    "coat": (outline(-.8, .4, -.6, -.6, -.2, -.9, .2, -.9, .6, -.6, .8, .4, .55, .4, .5, .9, -.5, .9, -.55, .4),
             block(-.03, -.8, .03, .9, .4), disc(0, -.8, .3, .18, .6)),
    "trousers": (outline(-.5, -.9, .5, -.9, .6, .9, .15, .9, 0, -.3, -.15, .9, -.6, .9), block(-.5, -.9, .5, -.75, .6)),
    "sock": (outline(-.4, -.9, .1, -.9, .1, .2, .7, .5, .6, .8, -.1, .7, -.4, .4), block(-.4, -.9, .1, -.65, 1.5)),
    "phone": (block(-.45, -.9, .45, .9), block(-.37, -.75, .37, .75, 1.5), disc(-.2, -.6, .1, .1, .4)),
    "cable": (disc(0, 0, .75, .75), disc(0, 0, .6, .6, 2.2), block(.5, -.15, .95, .15, .6),
              block(.6, .3, .9, .5, .6)),
    "headphones": (disc(0, -.1, .75, .75), disc(0, 0, .6, .65, 2.2),
                   disc(-.7, .3, .2, .35, .6), disc(.7, .3, .2, .35, .6)),
    "watch": (block(-.25, -.95, .25, .95), disc(0, 0, .5, .5, .5), disc(0, 0, .4, .4, 1.6)),
    "mouse": (disc(0, 0, .5, .8), block(-.03, -.8, .03, -.1, .3), disc(0, -.4, .08, .15, 1.7)),
    "wheel": (disc(0, 0, .85, .85, .4), disc(0, 0, .55, .55, 1.5), disc(0, 0, .15, .15, .5)),
    "tool": (block(-.9, -.12, .3, .12), outline(.3, -.3, .9, -.2, .7, 0, .9, .2, .3, .3, tone=.6)),
    "cup": (block(-.6, -.6, .4, .7), disc(.5, 0, .35, .35, .8), disc(.5, 0, .2, .2, 2.2), disc(-.1, -.6, .5, .12, 1.5)),
    "pan": (disc(-.25, .1, .6, .6, .7), disc(-.25, .1, .48, .48), block(.3, 0, .98, .18, .4)),
    "cloth": (block(-.85, -.6, .85, .7), block(-.85, -.2, .85, -.05, 1.5), block(-.85, .25, .85, .4, 1.5)),
    "box": (block(-.8, -.2, .8, .8), outline(-.8, -.2, -.5, -.7, .95, -.7, .8, -.2, tone=1.4),
            block(-.2, .1, .2, .3, .5)),
    "lamp": (outline(-.3, -.8, .3, -.8, .7, -.1, -.7, -.1), block(-.06, -.1, .06, .7, .4), disc(0, .75, .4, .12, .5)),
    "bath": (outline(-.9, 0, .9, 0, .7, .7, -.7, .7), block(-.95, -.08, .95, .05, 1.5), block(.6, -.7, .7, 0, .5)),
    "plant": (outline(-.4, .2, .4, .2, .3, .9, -.3, .9, tone=.7), disc(-.3, -.2, .2, .45), disc(.3, -.2, .2, .45),
              disc(0, -.5, .2, .45, 1.2)),
    "tube": (outline(-.3, -.9, .3, -.9, .35, .5, -.35, .5), block(-.25, .5, .25, .9, .5), block(-.2, -.4, .2, 0, 1.7)),
    "lipstick": (block(-.25, .1, .25, .9, .4), block(-.18, -.4, .18, .1, 1.6),
                 outline(-.16, -.4, -.16, -.7, .16, -.95, .16, -.4)),
    "bottle": (block(-.4, -.3, .4, .9), block(-.15, -.7, .15, -.3, .6), block(-.3, -.9, .15, -.7, .6),
               block(-.3, .1, .3, .5, 1.6)),
    "bear": (disc(0, .3, .55, .55), disc(0, -.4, .4, .38, 1.1), disc(-.35, -.7, .16, .16, .8),
             disc(.35, -.7, .16, .16, .8), disc(0, -.3, .15, .1, .4)),
    "romper": (outline(-.7, -.7, .7, -.7, .8, -.2, .45, -.2, .45, .4, .15, .8, -.15, .8, -.45, .4, -.45, -.2, -.8, -.2),
               disc(0, -.7, .25, .15, 1.8)),
    "dumbbell": (block(-.9, -.4, -.5, .4, .6), block(.5, -.4, .9, .4, .6), block(-.5, -.1, .5, .1, 1.3)),
    "paw": (disc(0, .35, .5, .4), disc(-.55, -.1, .18, .26), disc(-.2, -.45, .18, .28), disc(.2, -.45, .18, .28),
            disc(.55, -.1, .18, .26)),
    "pencil": (block(-.9, -.14, .5, .14), outline(.5, -.14, .9, 0, .5, .14, tone=1.6), block(-.9, -.14, -.7, .14, .5)),
    "bag": (disc(0, -.3, .45, .5, .6), disc(0, -.3, .35, .4, 2.2), outline(-.8, -.3, .8, -.3, .9, .8, -.9, .8),
            block(-.15, -.1, .15, .1, 1.6)),
}
# fmt: on
