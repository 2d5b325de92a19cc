"""Colours of the page's figures, in light and in dark; plotly takes them as a template."""

from __future__ import annotations

from typing import Any

CHOSEN = "#0d9488"
RUN = "#94a3b8"
SIDES = ("#3b82f6", "#d97706")  # of a study and of the one beside it
BANDS = ("rgba(59,130,246,.2)", "rgba(217,119,6,.18)")


def _theme(text: str, grid: str) -> dict[str, Any]:
    axis = {"gridcolor": grid, "linecolor": grid, "zeroline": False, "automargin": True}
    clear = "rgba(0,0,0,0)"
    return {
        "layout": {
            "font": {"color": text, "family": "system-ui, sans-serif", "size": 13},
            "paper_bgcolor": clear,
            "plot_bgcolor": clear,
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"bgcolor": clear},
            "hoverlabel": {"align": "left"},
        }
    }


THEMES = {"light": _theme("#1e293b", "#e2e8f0"), "dark": _theme("#e2e8f0", "#334155")}
