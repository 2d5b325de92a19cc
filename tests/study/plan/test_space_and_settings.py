"""Ranges, settings and configuration files."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchfront.study.cli.main import parser
from batchfront.study.cli.options import chosen_settings
from batchfront.study.errors import StudyError
from batchfront.study.plan.checks import check_settings
from batchfront.study.plan.options import settings_from
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.settings_file import settings_in
from batchfront.study.plan.sizes import MOST_SIZES, parse_batch_sizes, powers_of_two, said_sizes
from batchfront.study.plan.space import SearchSpace, parse_learning_rates


def test_learning_rates_read_as_low_and_high():
    assert parse_learning_rates("1e-4:3") == (1e-4, 3.0)


@pytest.mark.parametrize(
    ("text", "sizes", "said"),
    [
        ("8:64", (8, 16, 32, 64), "8..64 (powers of two)"),
        ("8", (8,), "8..8 (powers of two)"),
        ("24", (24,), "24"),
        ("96,24, 48", (24, 48, 96), "24, 48, 96"),
        ("16:128:16", tuple(range(16, 129, 16)), "16..128 (steps of 16)"),
        ("10:39:10", (10, 20, 30), "10, 20, 30"),
        ("2,4,8", (2, 4, 8), "2..8 (powers of two)"),
        ("1,2,3,5,8,13,21,34,55", (1, 2, 3, 5, 8, 13, 21, 34, 55), "1, 2, ..., 55 (9 sizes)"),
    ],
)
def test_batch_sizes_are_a_range_of_powers_a_list_or_steps(text, sizes, said):
    assert parse_batch_sizes(text) == sizes
    assert said_sizes(sizes) == said


@pytest.mark.parametrize(
    "text",
    ["", ":", "64:8", "0:8", "-2:8", "3:8", "a:b", "1:2:4", "1.5:2", "8:16:0", "64:8:8", "8:64:-8",
     "1:2:3:4", ",", "8,", "8,,16", "8,x", "0,8", "8,1e99", "24,24", "8:64,96", "8:2000:1",
     f"8,{2**30 + 1}"],
)  # fmt: skip
def test_bad_batch_sizes_are_refused(text):
    with pytest.raises(StudyError, match="batch_sizes") as refused:
        parse_batch_sizes(text)
    assert "\n" not in str(refused.value)


def test_a_size_that_is_named_twice_or_too_many_of_them_are_said():
    with pytest.raises(StudyError, match="has 24 twice"):
        parse_batch_sizes("24,48,24")
    with pytest.raises(StudyError, match=f"wanted at most {MOST_SIZES}"):
        parse_batch_sizes(f"1:{2**30}:1")


@pytest.mark.parametrize("text", ["", "1:0.1", "0:1", "-1:1", "nan:1", "1:nan", "1:inf", "x"])
def test_bad_learning_rates_are_refused(text):
    with pytest.raises(StudyError, match="learning_rates"):
        parse_learning_rates(text)


def test_a_size_that_is_no_power_of_two_names_the_nearest():
    with pytest.raises(StudyError, match="128 is near 100; other sizes are written as 24,48,96"):
        parse_batch_sizes("1:100")


@pytest.mark.parametrize(("n_train", "largest"), [(1078, 512), (512, 512), (511, 256), (1, 1)])
def test_batch_sizes_are_cut_to_the_data(n_train, largest):
    assert SearchSpace().cut_to((1, n_train)).batch_sizes == powers_of_two(1, largest)


def test_listed_sizes_are_cut_to_the_data_too():
    space = SearchSpace(batch_sizes=(1, 24, 48, 96))
    assert space.cut_to((2, 48)).batch_sizes == (24, 48)
    with pytest.raises(StudyError, match=r"24, 48 do not fit the data of the task: .* at most 20"):
        SearchSpace(batch_sizes=(24, 48)).cut_to((1, 20))


def test_batch_sizes_are_cut_to_what_was_recorded():
    assert SearchSpace().cut_to((3, 300)).batch_sizes == powers_of_two(4, 256)
    with pytest.raises(
        StudyError, match=r"1\.\.2 do not fit the data of the task: wanted at least 4"
    ):
        SearchSpace(batch_sizes=powers_of_two(1, 2)).cut_to((4, None))


def test_batch_sizes_wholly_beyond_the_data_are_refused():
    with pytest.raises(StudyError, match=r"128\.\.512 do not fit the data .* at most 100"):
        SearchSpace(batch_sizes=powers_of_two(128, 512)).cut_to((1, 100))


def test_a_space_survives_storage():
    for sizes in (powers_of_two(4, 64), (24, 48, 96), (24,)):
        space = SearchSpace(batch_sizes=sizes, learning_rates=(0.1, 0.2))
        assert SearchSpace.from_dict(space.as_dict()) == space


def test_a_space_of_format_3_holds_logarithms_and_is_stored_as_it_was():
    stored = {"batch_sizes": [16, 128], "learning_rates": [0.1, 0.2]}
    space = SearchSpace.from_dict(stored)
    assert space.batch_sizes == (16, 32, 64, 128)
    assert space.as_dict() == stored
    low_high = space.distributions()["log2_batch_size"]
    assert (low_high.low, low_high.high) == (4, 7)
    assert space.grid()["log2_batch_size"] == [4, 5, 6, 7]
    named = StudySettings(batch_sizes=(16, 48, 128)).space(space)
    assert named.as_dict() != stored, "other sizes with the same ends are another space"
    assert StudySettings(batch_sizes=powers_of_two(16, 128)).space(space) == space


@pytest.mark.parametrize(
    "bad",
    [
        {"n_trials": 0},
        {"n_trials": -1},
        {"n_workers": 0},
        {"epochs": 0},
        {"seed": -1},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"sampler": "tpo"},
        {"study_name": " "},
        {"max_seconds": 0.0},
        {"min_accuracy": 0.9, "min_metric": 0.9},
    ],
)
def test_impossible_settings_are_refused_by_name(bad):
    with pytest.raises(StudyError, match=next(iter(bad))):
        check_settings(StudySettings(**bad))


def test_an_unknown_sampler_names_the_nearest():
    with pytest.raises(StudyError, match="did you mean 'nsgaii'"):
        check_settings(StudySettings(sampler="nsga2"))


def _toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_config_file_is_read_as_the_command_line_is(tmp_path):
    path = _toml(
        tmp_path,
        'n_trials = 7\ntimeout = 3\nbatch_sizes = "8:64"\nlearning_rates = "auto"\n'
        'max_memory = "2GiB"\nprecision = "float32,bfloat16"\n'
        'compile = true\nschedule = "doubling"\nfuse = 8\nbudget = 1.5\n',
    )
    settings = StudySettings(**settings_from(settings_in(path)))
    assert (settings.n_trials, settings.timeout, settings.compile) == (7, 3.0, True)
    assert (settings.batch_sizes, settings.learning_rates) == ((8, 16, 32, 64), "auto")
    assert settings.max_memory == 2 * 2**30
    assert (settings.fuse, settings.budget) == (8, 1.5)
    assert settings.techniques == {"precisions": ("float32", "bfloat16"), "schedule": "doubling"}


def test_the_command_line_wins_over_the_config_file(tmp_path):
    path = _toml(tmp_path, 'n_trials = 7\ntimeout = 3\nsampler = "random"\n')
    args = parser().parse_args(["run", "--n-trials", "9", "--config", str(path)])
    settings = chosen_settings(args)
    assert (settings.n_trials, settings.timeout, settings.sampler) == (9, 3.0, "random")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n_trail = 3", "nearest known is 'n_trials'"),
        ("zzz = 3", "unknown key 'zzz'"),
        ('n_trials = "three"', "n_trials is 'three', wanted a whole number .* or auto"),
        ("n_trials = true", "n_trials is True, wanted int or str"),
        ("n_trials = 3.5", "n_trials is 3.5, wanted int or str"),
        ("fuse = 2.5", "fuse is 2.5, wanted int or str"),
        ("budget = true", "budget is True, wanted int or float or str"),
        ("n_trials = ", "not valid TOML"),
        ('batch_sizes = "9:16"', "batch_sizes is '9:16', wanted powers of two"),
        ('micro_batch_sizes = "9:64"', "micro_batch_sizes is '9:64', wanted powers of two"),
        ("batch_sizes = 8", "batch_sizes is 8, wanted str"),
    ],
)
def test_a_bad_config_file_says_what_is_wrong(tmp_path, text, said):
    with pytest.raises(StudyError, match=said):
        settings_in(_toml(tmp_path, text))


def test_a_missing_config_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"cannot read the config file .*none\.toml"):
        settings_in(tmp_path / "none.toml")
