"""No door is left open: each input works, or is refused in one line, and nothing is left behind.

The inputs are the same in every run; BATCHFRONT_TEST_DEEPER=20 tries twenty times as many.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfront.study.cli.main import main
from batchfront.study.plan.options import options
from batchfront.study.show import LONGEST_LINE, one_line
from tests.study.cli.doors import (
    NUMBERS,
    RANGES,
    REFUSED,
    SOUND,
    TABLE,
    TEXTS,
    actions,
    folder,
    inputs,
    outcome,
)

NOWHERE = {  # so that nothing runs where the value is sound
    **dict.fromkeys(("run", "smallest", "probe", "record"), ("--task", "nowhere.py")),
    **dict.fromkeys(("noise-scale", "lr-range"), ("--task", "nowhere.py")),
    "delete": ("--study-name", "x", "--yes"),
    "import": ("nowhere.csv",),
    "copy": ("--from", "journal:///none.log", "--to", "journal:///to.log"),
    "serve": ("--storage", "journal:///none.log"),
}
ENTRIES = actions()
JOURNAL = "journal:///study.log"


@cache
def recorded() -> bytes:
    """The journal of a small study."""
    with folder({"t.csv": TABLE.encode()}) as here:
        argv = ["run", "--task", "t.csv", "--n-trials", "2", "--storage", JOURNAL]
        assert main(argv) == 0
        return (here / "study.log").read_bytes()


@inputs(200)
@given(entry=st.sampled_from(ENTRIES), value=st.one_of(NUMBERS, RANGES, TEXTS))
def test_any_value_of_any_option_is_taken_or_refused(entry, value):
    verb, action = entry
    before = NOWHERE.get(verb, ())
    if not action.option_strings:
        assert outcome([verb, value, "--storage", "journal:///to.log"]) in SOUND
        return
    flag = action.option_strings[-1]
    if flag == "--task":  # a bundled one would be trained
        before, value = (), f"{value}?"
    assert outcome([verb, *before, f"{flag}={value}"]) in SOUND


@inputs(60)
@given(
    words=st.lists(
        st.one_of(st.sampled_from(["run", "front", "--json", "--csv", "N_TRIALS=inf"]), TEXTS),
        max_size=4,
    )
)
def test_any_words_are_a_command_or_refused(words):
    if {"--help", "-h"} & set(words):
        return
    assert outcome([*words, "--no-such-option"]) in SOUND


TOKENS = st.one_of(
    st.sampled_from(
        ["inf", "-inf", "nan", "1e400", "9" * 400, "-" + "9" * 400, "9" * 5000, "0x" + "f" * 5000,
         "1e-320", "0", "-1", "true", "[]", "{}", "1979-05-27", "'''a\nb'''", '"\\u0000"',
         '"\\u001b[31m"', '"1:2"', '"8:16"', "[" * 3000 + "]" * 3000, "[" * 300 + "]" * 300]
    ),
    st.text(max_size=30).map(json.dumps),
    st.integers().map(str),
)  # fmt: skip
KEYS = st.one_of(st.sampled_from(sorted(options())), st.text(max_size=20).map(json.dumps))


@inputs(80)
@given(key=KEYS, token=TOKENS)
def test_any_file_of_settings_is_taken_or_refused(key, token):
    text = f"{key} = {token}\n".encode("utf-8", "surrogatepass")
    argv = ["run", "--config", "c.toml", "--task", "nowhere.py"]
    assert outcome(argv, {"c.toml": text}) in SOUND


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"\xff\xfe", b"a=" + b"[" * 100_000, b"=1", b"\x1b[31m=1", b"n_trials=1\n" * 2,
     b"# \n" * 1_000_000, b"[n_trials]", b".".join([b"a"] * 3000) + b"=1"],
    ids=range(10),
)  # fmt: skip
def test_a_strange_file_of_settings_is_taken_or_refused(content):
    assert (
        outcome(["run", "--config", "c.toml", "--task", "nowhere.py"], {"c.toml": content}) in SOUND
    )


@pytest.mark.parametrize("verb", ["import", "run"])
def test_what_is_no_file_is_not_waited_for(tmp_path, verb):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for path in ("folder.csv", "pipe.csv"):
        name = str(tmp_path / path)
        source = [name] if verb == "import" else ["--task", name]
        assert outcome([verb, *source]) in SOUND
        assert outcome(["run", "--task", "nowhere.py", "--config", name]) in SOUND
    for path in ("/dev/zero", "/dev/null", "/proc/self/mem", "/"):
        assert outcome(["run", "--task", "nowhere.py", "--config", path]) in SOUND
        assert outcome(["import", path, "--storage", JOURNAL]) in SOUND
    for url in ("sqlite", "journal"):
        for path in (tmp_path / "pipe.csv", tmp_path / "folder.csv", "/dev/zero"):
            assert outcome(["ls", "--storage", f"{url}:///{path}"]) in SOUND
            assert outcome(["import", "t.csv", "--storage", f"{url}:///{path}"], _TABLE) in SOUND


_TABLE = {"t.csv": TABLE.encode()}
CELLS = st.one_of(NUMBERS, st.sampled_from(['"', '"a\nb"', "\x1b[31m", "é", "a" * 140_000, "\0"]))
COLUMNS = TABLE.splitlines()[0].split(",")


@inputs(50)
@given(column=st.sampled_from(COLUMNS), cell=CELLS, packed=st.booleans())
def test_any_cell_of_a_table_is_read_or_refused(column, cell, packed):
    lines = TABLE.splitlines()
    cells = lines[-1].split(",")
    cells[COLUMNS.index(column)] = cell
    text = "\n".join([*lines[:-1], ",".join(cells)]).encode()
    name = "t.csv.gz" if packed else "t.csv"
    content = gzip.compress(text) if packed else text
    assert outcome(["import", name, "--storage", JOURNAL], {name: content}) in SOUND


HEADER = "batch_size,learning_rate,val_accuracy"
MANY = [f"c{n}" for n in range(100_000)]


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", HEADER, "\0", "a,b\n1,2", "," * 100_000, ",".join(MANY), '"' + "a" * 200_000,
     f"{HEADER},\x1b[31m\n8,.1,.5,1", f"{HEADER},{'k' * 5000}\n8,.1,.5,1",
     f'{HEADER},"x\ny"\n8,.1,.5,1', f"{HEADER}\r8,.1,.5\r", f'{HEADER}\n8,"0.1,.5',
     ",".join(["batch_size"] * 5000), f"{HEADER},{','.join(MANY)}\n8,.1,.5,{'1,' * 100_000}",
     "batch_size,learning_rate,steps_to_target\n8,.1,1e308\n16,.1,1e-300\n32,.1,1"],
    ids=range(16),
)  # fmt: skip
def test_a_strange_table_is_read_or_refused(text):
    assert outcome(["import", "t.csv", "--storage", JOURNAL], {"t.csv": text.encode()}) in SOUND


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8b", gzip.compress(b"a")[:-4], b"no gzip"],
    ids=range(4),
)
def test_a_damaged_packed_table_is_refused(content):
    assert outcome(["import", "t.csv.gz"], {"t.csv.gz": content}) == REFUSED


SCHEMES = [
    "sqlite", "journal", "grpc", "postgresql", "mysql", "mongodb", "sqlite+pysqlite", "", "é",
    "a\nb", "postgresql+asyncpg",
]  # fmt: skip
HOSTS = [
    "", "127.0.0.1:1", "[::1]:1", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:0", "127.0.0.1:abc",
    "127.0.0.1:" + "9" * 400, "a..b", "h" * 300, "\udcff", "a b", "[::1", "[zz]", "u:p@127.0.0.1:1",
    "u%ff:p%ff@127.0.0.1:1", "u%00@127.0.0.1:1", "a@b@127.0.0.1:1", "u" * 300 + "@127.0.0.1:1",
]  # fmt: skip
PATHS = st.one_of(
    st.sampled_from(
        ["", "x", "\0.db", "\udcff.db", "a" * 300, "a/" * 2500 + "x", "a\nb", "\x1b[31m/x", "%ff",
         "%00", "%zz", "~nobody/x", "/dev/null", "t.csv/x", ":memory:", "new/" + "a" * 250 + ".db"]
    ),
    st.text(st.characters(), max_size=12),
)  # fmt: skip
QUERIES = [
    "", "?foo=bar", "?connect_timeout=abc", "?foo=bar&foo=baz", "?charset=foo", "?sslmode=foo",
    "?ssl_ca=/nowhere", "?ssl=true", "?read_timeout=-1", "?conv=1", "?plugin=foo", "?port=5",
    "?local_infile=x", "?unix_socket=/nowhere", "?host=/nowhere", "?client_encoding=foo",
    "?prepare_threshold=abc", "?options=-c%20foo", "?max_allowed_packet=abc", "?cursorclass=x",
]  # fmt: skip


@inputs(100)
@given(
    verb=st.sampled_from(["ls", "import", "dashboard", "serve", "delete", "copy", "probe"]),
    scheme=st.sampled_from(SCHEMES),
    host=st.sampled_from(HOSTS),
    path=PATHS,
    query=st.sampled_from(QUERIES),
)
def test_any_storage_is_opened_or_refused(monkeypatch, verb, scheme, host, path, query):
    monkeypatch.setattr("batchfront.storage.proxy.CONNECT_SECONDS", 0.1)
    if scheme in ("sqlite", "journal"):
        host = ""
    url = f"{scheme}://{host}/{path}{query}"
    argv = {
        "import": ["import", "t.csv", "--storage", url],
        "delete": ["delete", "--study-name", "x", "--yes", "--storage", url],
        "copy": ["copy", "--from", url, "--to", "journal:///to.log"],
        "probe": ["probe", "--task", "nowhere.py", "--storage", url],
    }.get(verb, [verb, "--storage", url, *(("--host", "203.0.113.9") if verb == "serve" else ())])
    assert outcome(argv, _TABLE) in SOUND


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.mysql
def test_options_that_mysql_does_not_know_are_refused(monkeypatch, query):
    assert outcome(["ls", "--storage", f"mysql://root@127.0.0.1/none{query}"]) in SOUND


@pytest.mark.parametrize("host", ["\0", "\udcff", "a..b", "h" * 300, "203.0.113.9", "a\nb", "::g"])
@pytest.mark.parametrize("verb", ["dashboard", "serve"])
def test_a_server_that_cannot_be_is_refused(verb, host):
    storage = JOURNAL if verb == "dashboard" else "sqlite:///study.db"
    argv = [verb, "--host", host, "--port", "0", "--storage", storage]
    files = {"study.log": recorded()}
    if verb == "serve":  # a journal cannot be
        with folder(files):
            assert main(["copy", "--from", JOURNAL, "--to", "sqlite:///study.db"]) == 0
            with open("study.db", "rb") as file:
                files = {"study.db": file.read()}
    assert outcome(argv, files) == REFUSED


@inputs(40)
@given(name=TEXTS, verb=st.sampled_from(["run", "front", "export", "delete", "copy", "import"]))
def test_any_name_of_a_study_is_found_or_refused(name, verb):
    argv = {
        "run": ["run", "--task", "t.csv", "--n-trials", "1", "--storage", "journal:///new.log"],
        "import": ["import", "t.csv", "--storage", "journal:///new.log"],
        "copy": ["copy", "--from", JOURNAL, "--to", "journal:///new.log"],
        "delete": ["delete", "--yes", "--storage", JOURNAL],
    }.get(verb, [verb, "--storage", JOURNAL])
    files = {**_TABLE, "study.log": recorded()}
    assert outcome([*argv, f"--study-name={name}"], files) in SOUND


LINES = st.one_of(
    st.sampled_from(
        [b'{"op_code":99,"worker_id":"x"}', b'{"op_code":"a"}', b'{"op_code":0}', b"{}", b"[]",
         b"1", b"null", b"", b"\xff", b'{"op_code":0,', b'{"op_code":' + b"[" * 100_000,
         b'{"op_code":' + b"9" * 5000 + b"}", b"\0\0", b'{"op_code":NaN}',
         b'{"op_code":6,"worker_id":"x","trial_id":0,"state":77,"values":null}',
         b'{"op_code":2,"worker_id":"x","study_id":0,"user_attr":3}',
         b'{"op_code":2,"worker_id":"x","study_id":0,"user_attr":{"batchfront":7}}',
         b'{"op_code":4,"worker_id":"x","study_id":0,"datetime_start":"zzz"}']
    ),
    st.binary(max_size=30),
    st.dictionaries(
        st.sampled_from(["op_code", "worker_id", "study_id", "trial_id", "user_attr"]),
        st.one_of(st.integers(-2, 12), st.text(max_size=3), st.none()),
    ).map(lambda line: json.dumps(line).encode()),
)  # fmt: skip


@inputs(50)
@given(
    line=LINES,
    at=st.floats(0, 1),
    ended=st.booleans(),
    verb=st.sampled_from(["ls", "front", "export", "rates", "dashboard", "copy"]),
)
def test_any_line_in_a_journal_is_read_or_refused(line, at, ended, verb):
    lines = recorded().splitlines(keepends=True)
    n = round(at * len(lines))
    lines[n:n] = [line + (b"\n" if ended else b"")]
    storage = ["--from", JOURNAL, "--to", "journal:///to.log"] if verb == "copy" else []
    more = ["--host", "203.0.113.9"] if verb == "dashboard" else []
    argv = [verb, *(storage or ["--storage", JOURNAL]), *more]
    assert outcome(argv, {"study.log": b"".join(lines)}) in SOUND


@pytest.mark.parametrize("key", ["space", "sizes", "epochs", "task", "format", "objectives"])
@pytest.mark.parametrize("verb", ["ls", "front", "report"])
def test_a_damaged_record_of_a_study_is_refused(key, verb):
    broken = recorded().replace(f'"{key}":'.encode(), f'"{key}":{{"a":0}},"x":'.encode())
    assert broken != recorded()
    argv = [verb, "--storage", JOURNAL]
    if verb == "report":
        argv += ["-o", "report.html"]
    assert outcome(argv, {"study.log": broken}) == REFUSED


TASK = """
import torch
from torch import nn
from batchfront import Data, Task
def data():
    {data}
    torch.manual_seed(0)
    x = torch.randn(96, 4)
    y = (x.sum(1) > 0).long()
    return Data(x_train=x[:64], y_train=y[:64], x_val=x[64:80], y_val=y[64:80], x_test=x[80:],
        y_test=y[80:])
def model():
    {model}
    return nn.Linear(4, 2)
def loss(a, b):
    {loss}
    return nn.functional.cross_entropy(a, b)
task = Task(name="m", data=data, model=model, loss=loss, optimizer=torch.optim.SGD, epochs=1)
{top}
"""
RAISED = {
    "SystemExit": "raise SystemExit(3)",
    "long SystemExit": "raise SystemExit('a' * 1000)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "StopIteration": "raise StopIteration",
    "MemoryError": "raise MemoryError",
    "BrokenPipeError": "raise BrokenPipeError",
    "full disk": "raise OSError(28, 'x')",
    "endless": "f = lambda: f(); f()",
    "lines": "raise ValueError('a\\nb\\x1b[31m' * 50)",
    "not UTF-8": "raise ValueError('\\udcff')",
    "own": "raise type('Own', (BaseException,), {})('x')",
    "no str": "raise type('B', (Exception,), {'__str__': lambda s: 1 / 0})",
    "str exits": "raise type('B', (BaseException,), {'__str__': lambda s: exit(1)})",
    "str is 3": "raise type('B', (Exception,), {'__str__': lambda s: 3, '__repr__': lambda s: 3})",
    "no name": "raise type('M', (type,), {'__name__': property(lambda c: 1 / 0)})('B', (Exception,), {})",  # noqa: E501
}


@pytest.mark.parametrize("where", ["top", "data", "model", "loss"])
@pytest.mark.parametrize("raised", RAISED)
def test_whatever_code_of_ones_own_raises_is_one_line(where, raised):
    places = {"top": "", "data": "", "model": "", "loss": "", where: RAISED[raised]}
    text = TASK.format(**places).encode()
    argv = ["lr-range", "--task", "mine.py", "--batch-size", "8"]
    assert outcome(argv, {"mine.py": text}) == REFUSED


@pytest.mark.parametrize("raised", ["own", "no str", "GeneratorExit", "not UTF-8"])
@pytest.mark.parametrize("verb", ["run", "probe", "record"])
def test_a_loop_may_raise_what_it_likes(verb, raised):
    text = f"def objective(params, run):\n    {RAISED[raised]}\n".encode()
    argv = [verb, "--task", "mine.py", "--epochs", "1", "--batch-sizes", "8"]
    if verb == "run":
        argv += ["--n-trials", "1", "--storage", "journal:///new.log"]
    assert outcome(argv, {"mine.py": text}) in (*SOUND, "exit code 1")


@pytest.mark.parametrize(
    "text",
    ["\0", "# \xff".encode("latin-1"), "x = " + "(" * 500, "x=" + "-" * 100_000 + "1", "def f(\n",
     "# coding: nonsense", "def __getattr__(name):\n    1 / 0", "def task(a=1/0): pass",
     "task = 3"],
    ids=range(9),
)  # fmt: skip
def test_a_strange_task_file_is_refused(text):
    content = text if isinstance(text, bytes) else text.encode()
    assert outcome(["probe", "--task", "mine.py"], {"mine.py": content}) == REFUSED


@pytest.mark.parametrize(
    "more",
    [("--max-seconds", "1e-9"), ("--max-memory", "1"), ("--min-accuracy", "1"), ("--grace", "2"),
     ("--learning-rates", "1e-37:1e37"), ("--scale-rule", "sqrt", "--scale-reference", str(2**30)),
     ("--seed", str(2**31 - 1)), ("--target", "-1e308"), ("--early-stopping", "999999999"),
     ("--timeout", "1e-300"), ("--checkpoint-dir", "t.csv/x"), ("--pruner", "nowhere.py:x"),
     ("--study-name", "x" * 512), ("--batch-sizes", f"1:{2**30}")],
    ids=" ".join,
)  # fmt: skip
def test_the_ends_of_what_may_be_said_run_or_are_refused(more):
    argv = ["run", "--task", "t.csv", "--n-trials", "2", "--storage", "journal:///new.log", *more]
    assert outcome(argv, _TABLE) in (*SOUND, "exit code 75")


@pytest.mark.slow
@inputs(150)
@given(
    option=st.sampled_from([o for o in options().values() if o.kind not in ("bool", "str")]),
    value=st.one_of(NUMBERS, RANGES),
)
def test_any_number_is_run_with_or_refused(option, value):
    if option.name == "n_workers":
        return
    argv = ["run", "--task", "t.csv", "--n-trials", "1", "--timeout", "5"]
    argv += ["--storage", "journal:///new.log", f"{option.flag}={value}"]
    assert outcome(argv, _TABLE) in (*SOUND, "exit code 75")


@pytest.mark.parametrize(
    "argv",
    [
        (b"ls", b"--storage", b"sqlite:///\xff.db"),
        (b"import", b"t.csv", b"--storage", b"sqlite:///\xff.db"),
        (b"import", b"t.csv", b"--study-name", b"\xff\x1b[31m"),
        (b"run", b"--task", b"\xff.py", b"--seed", b"9" * 400),
    ],
)
def test_the_command_itself_keeps_its_word(workdir, argv):
    (workdir / "t.csv").write_text(TABLE)
    before = sorted(workdir.iterdir())
    command = [sys.executable, "-m", "batchfront", *argv]
    done = subprocess.run(command, capture_output=True, timeout=120, cwd=workdir)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert len(line) <= LONGEST_LINE
    assert sorted(workdir.iterdir()) == before


@inputs(200)
@given(text=st.one_of(st.text(st.characters(), max_size=2000), TEXTS))
def test_any_text_becomes_one_line(text):
    line = one_line(text)
    assert len(line) <= LONGEST_LINE
    assert line.isprintable()


def test_a_long_line_keeps_its_beginning_and_its_remedy():
    line = one_line("error: found " + "x" * 5000 + ", wanted less: choose another --storage")
    assert line.startswith("error: found xxx")
    assert line.endswith("wanted less: choose another --storage")
