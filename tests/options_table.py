"""docs/options.md, from the options as they are declared: `python -m tests.options_table`."""

from __future__ import annotations

from pathlib import Path

from batchfront.study.plan.options import GROUPS, options

PAGE = Path(__file__).resolve().parent.parent / "docs" / "options.md"
INTRO = """# Options

`--n-trials 60` on the command line is `N_TRIALS=60` after make and `n_trials = 60` in the TOML file
of `--config`. The command line wins over the environment (`BATCHFRONT_STORAGE`, `BATCHFRONT_DATA`),
and that over the file. What a study has stored need not be said again when it is resumed. Options
of a single verb are in its help: `batchfront VERB --help`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRO, *(_section(group) for group in GROUPS)])


def _section(group: str) -> str:
    rows = [
        f"| `{option.flag}` | {option.words} | {', '.join(option.verbs)} |"
        for option in options().values()
        if option.group == group
    ]
    title = GROUPS[group][0].upper() + GROUPS[group][1:]
    return "\n".join(
        [f"## {title}\n", "| option | what | verbs |", "| --- | --- | --- |", *rows, ""]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
