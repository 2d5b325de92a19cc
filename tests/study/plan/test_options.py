"""Options: declared once, and everything that shows them follows."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import batchfront.study.plan.sizes as sizes
import batchfront.study.plan.space as space
from batchfront.objectives.training.recipe import Recipe
from batchfront.study.cli.main import main, parser
from batchfront.study.cli.words import as_options
from batchfront.study.errors import StudyError
from batchfront.study.plan.options import options
from batchfront.study.plan.settings import StudySettings
from tests.options_table import PAGE, page

ROOT = Path(__file__).resolve().parents[3]


def _verbs():
    (action,) = (a for a in parser()._actions if isinstance(a.choices, dict))
    return action.choices


def test_every_setting_and_every_technique_is_an_option():
    found = {option.field for option in options().values()}
    settings = {field.name for field in fields(StudySettings)} - {
        "techniques",
        "given",
        "callbacks",
    }
    assert found == settings | {field.name for field in fields(Recipe)}


@pytest.mark.parametrize("option", options().values(), ids=lambda option: option.name)
def test_a_verb_takes_the_options_that_name_it_and_shows_their_words(option):
    for name, verb in _verbs().items():
        own = {flag for action in verb._actions for flag in action.option_strings}
        if name in option.verbs:
            assert option.flag in own
            assert option.words.split(";")[0][:30] in " ".join(verb.format_help().split())


def test_the_page_of_options_is_what_the_options_say():
    """`python -m tests.options_table` writes it again."""
    assert PAGE.read_text() == page()


def test_every_verb_shows_two_lines_to_try_which_it_takes():
    for name, verb in _verbs().items():
        lines = re.findall(r"^  batchfront (.+)$", verb.format_help(), re.MULTILINE)
        assert len(lines) == 2, name
        for line in lines:
            words = line.split(" > ")[0].split()
            assert words[0] == name
            parser().parse_args(words)


def test_a_range_is_parsed_once_from_the_command_line_to_the_last_trial(tmp_path, monkeypatch):
    parsed = []
    ends = space.ends
    for module in (sizes, space):
        monkeypatch.setattr(
            module, "ends", lambda what, *more: parsed.append(what) or ends(what, *more)
        )
    monkeypatch.chdir(tmp_path)
    run = ["run", "--task", str(ROOT / "benchmarks/tables/wine_sgd.csv.gz")]
    more = ["--batch-sizes", "8:16", "--learning-rates", "0.01:0.1"]
    assert main([*run, *more, "--n-trials", "2"]) == 0
    assert sorted(parsed) == ["batch_sizes", "learning_rates"]
    parsed.clear()
    assert main([*run, *more, "--n-trials", "3"]) == 0  # a resume
    assert sorted(parsed) == ["batch_sizes", "learning_rates"]


def test_words_of_make_are_options():
    actions = _verbs()["run"]._actions
    words = ["N_TRIALS=5", "COMPILE=1", "MIXED_HARDWARE=0", "TASK=a b", "STUDY_NAME="]
    assert as_options(words, actions, verb="run") == [
        "--n-trials=5", "--compile", "--task=a b", "--study-name=",
    ]  # fmt: skip


def test_the_value_of_an_option_is_no_word_of_make():
    words = ["--study-name", "A=1", "--compile", "EPOCHS=3"]
    found = as_options(words, _verbs()["run"]._actions, verb="run")
    assert found == ["--study-name", "A=1", "--compile", "--epochs=3"]


def test_an_unknown_word_names_the_nearest():
    with pytest.raises(StudyError, match="run takes no N_TRIAL: did you mean N_TRIALS"):
        as_options(["N_TRIAL=5"], _verbs()["run"]._actions, verb="run")
