"""The colours of values on the map: told apart in light and dark mode, also by the colour-blind."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import server.web

CSS = Path(server.web.__file__).with_name("static") / "lookalike.css"

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)
SIGHTS = {
    "normal": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    # Machado, Oliveira and Fernandes 2009: linear RGB as it is seen without one kind of cone
    "protanopia": [
        0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998,
    ],
    "deuteranopia": [
        0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881,
    ],
    "tritanopia": [
        1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039,
    ],
}  # fmt: skip
MIN_DIFFERENCE = 20
"""In CIELAB (1976), where about 2.3 is just noticeable. The colours of Okabe and Ito reach 6."""

MIN_CONTRAST = 2.4
"""With what is behind them. Bright ones have less than WCAG's 3 on white; the legend names all."""


def linear(colour: str) -> NDArray[np.float64]:
    parts = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = np.cbrt(np.clip(rgb, 0.001, 1) @ TO_XYZ.T / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_marks_differ_from_each_other_and_from_what_is_behind_them(mode: str) -> None:
    light, dark = CSS.read_text().split("prefers-color-scheme: dark", 1)
    text = light if mode == "light" else dark
    marks = [re.findall(rf"--mark-{n}: (#[0-9a-f]{{6}})", text)[0] for n in range(9)]
    behind = re.findall(r"--card: (#[0-9a-f]+)", text)[0].ljust(7, "f")
    for sight, seen in SIGHTS.items():
        places = [lab(np.reshape(seen, (3, 3)) @ linear(colour)) for colour in marks]
        for one in range(9):
            for other in range(one):
                difference = float(np.linalg.norm(places[one] - places[other]))
                assert difference >= MIN_DIFFERENCE, (sight, marks[one], marks[other])
    for colour in marks[1:]:
        lights = sorted(0.05 + float(linear(one) @ TO_XYZ[1]) for one in (colour, behind))
        assert lights[1] / lights[0] >= MIN_CONTRAST, colour
