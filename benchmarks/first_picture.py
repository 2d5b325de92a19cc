"""The README's first picture, in light and dark: python -m benchmarks.first_picture STORAGE OUT.

Draws what each batch size buys in the only study of a storage, as the report does. Needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from batchfront.study.answer.choice import answer_of
from batchfront.study.answer.known import known_of
from batchfront.study.findings.page.panels import panels
from batchfront.study.findings.page.side import Side
from batchfront.study.findings.page.theme import THEMES
from batchfront.study.opening.open import the_study
from batchfront.study.trials.sound import sound_trials

PAPER = {"light": "#ffffff", "dark": "#0d1117"}  # as GitHub has them
WIDTH, HEIGHT = 900, 880


def main() -> None:
    """Write OUT-light.png and OUT-dark.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("out")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("found no chromium: install the Debian package chromium")
    study = the_study(args.storage, None)
    (known,) = known_of(study, sound_trials(study)).values()
    figure = panels([Side(label="", answer=answer_of(known), known=known)])
    for theme, template in THEMES.items():
        figure.update_layout(template=template, width=WIDTH, paper_bgcolor=PAPER[theme])
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.html"
            body = figure.to_html(full_html=False, config={"displayModeBar": False})
            page.write_text(f'<body style="margin:0;background:{PAPER[theme]}">{body}</body>')
            _shoot(chromium, page, Path(f"{args.out}-{theme}.png"))


def _shoot(chromium: str, page: Path, out: Path) -> None:
    argv = [chromium, "--headless", "--no-sandbox", "--hide-scrollbars", f"--screenshot={out}"]
    size = f"--window-size={WIDTH},{HEIGHT}"
    subprocess.run([*argv, size, "--virtual-time-budget=5000", page.as_uri()], check=True)


if __name__ == "__main__":
    main()
