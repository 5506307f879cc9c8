"""A full or read-only disk: one clear error that says where and what to do; nothing is lost, and a run with room gives what an undisturbed one gives."""

import json
import random

import pytest
from shortage import Forbidden, FullDisk, Limit, ReadOnly

SQL = """
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id BIGINT, noise STRING');
CREATE STREAMING TABLE s (CONSTRAINT odd EXPECT (id % 2 = 1) ON VIOLATION DROP ROW) AS SELECT id, noise FROM STREAM t;
CREATE MATERIALIZED VIEW g AS SELECT count(*) AS rows, sum(id) AS total FROM s;
"""
EVENTS = "CREATE STREAMING TABLE e AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'id BIGINT, noise STRING');\n"
ROWS = 400


def noise(seed, letters):
    """Text that doesn't compress."""
    return random.Random(seed).randbytes(letters // 2).hex()


def records(letters=1000):
    return [json.dumps({"id": n, "noise": noise(n, letters)}) for n in range(ROWS)]


def files(project):
    project.write("sql/all.sql", SQL)
    lines = records()
    for part in range(4):
        project.write(f"in/{part}.json", "\n".join(lines[part::4]) + "\n")
    return project


def tables(project):
    ids = [sorted(row["id"] for row in project.rows(path)) for path in ("bronze/t", "silver/s", "silver/s__quarantine")]
    return [*ids, project.rows("gold/g")]


EXPECTED = [list(range(ROWS)), list(range(1, ROWS, 2)), list(range(0, ROWS, 2)), [{"rows": ROWS // 2, "total": ROWS * ROWS // 4}]]


def clear(out, says, where):
    """One error is enough: what, where, what to do; and nothing of our own doing."""
    assert any(words in out for words in says) and where in out, out
    assert "help" in out or "; " in out, out
    for noise_of_libraries in ("shut down", "panick", "RUST_BACKTRACE", "internal error"):
        assert noise_of_libraries not in out, out


@pytest.fixture(params=[FullDisk, Limit], ids=["full disk", "file limit"])
def shortage(request):
    made = []

    def make(folder, room):
        made.append(request.param(folder, room))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture(params=[ReadOnly, Forbidden], ids=["read-only", "forbidden"])
def closed(request):
    made = []

    def make(folder):
        made.append(request.param(folder))
        return made[-1]

    yield make
    for each in made:
        each.end()


def left_over(project):
    """Data files that no log names, and uploads that were never ended."""
    lake = project.folder / "lake"
    named = set()
    for log in lake.glob("*/*/_delta_log/*.json"):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        named |= {str(log.parents[1] / action["add"]["path"]) for action in actions if "add" in action}
    return [path for path in lake.rglob("*.parquet*") if str(path) not in named and "_delta_log" not in str(path)]


@pytest.mark.parametrize("table", ["bronze/t", "silver/s", "silver/s__quarantine"])
def test_a_table_on_a_disk_without_room(empty, shortage, table):
    disk = shortage(files(empty).folder / "lake" / table, 64 << 10)
    for _ in range(2):
        out = empty.run("run", expect=3, **disk.options())
        clear(out, disk.says, table if isinstance(disk, FullDisk) else "lake/")
        assert not left_over(empty)
    disk.relieve()
    empty.run("run")
    assert tables(empty) == EXPECTED
    assert "nothing new" in empty.run("run")


def test_compaction_on_a_disk_without_room(empty):
    files(empty)
    empty.write("sql/all.sql", SQL.replace("schema =>", "maxFilesPerTrigger => 1, schema =>"))
    empty.run("run")
    config = empty.folder / "pipeline.yml"
    config.write_text(config.read_text() + "compact_min_files: 2\n")
    before = empty.versions()
    disk = Limit(empty.folder, 128 << 10)
    out = empty.run("compact", expect=3, **disk.options())
    clear(out, disk.says, "bronze/t")
    assert empty.versions() == before and not left_over(empty)
    empty.run("compact")
    assert empty.versions() != before
    assert tables(empty) == EXPECTED


def test_a_lake_that_cannot_be_written(empty, closed):
    files(empty)
    disk = closed(empty.folder / "lake")
    out = empty.run("run", expect=3, before=disk.before())
    clear(out, disk.says, "lake")
    disk.end()
    empty.run("run")
    assert tables(empty) == EXPECTED
    disk = closed(empty.folder / "lake")
    assert "nothing new" in empty.run("run", before=disk.before())
    empty.write("in/more.json", json.dumps({"id": ROWS}) + "\n")
    clear(empty.run("run", expect=3, before=disk.before()), disk.says, "lake/bronze/t")
    assert tables(empty) == EXPECTED
    disk.end()
    empty.run("run")
    assert len(empty.rows("bronze/t")) == ROWS + 1


def queue(project):
    config = project.folder / "pipeline.yml"
    config.write_text(config.read_text() + "sources:\n  events: {spool: queue, visibility_timeout: 1ms}\n")
    project.write("sql/e.sql", EVENTS)
    project.write("recorded.ndjson", "\n".join(records()) + "\n")
    return project


def landed(project):
    return sorted(row["id"] for row in project.rows("bronze/e"))


def test_a_queue_without_room_takes_no_half_message(empty, shortage):
    disk = shortage(queue(empty).folder / "queue", 96 << 10)
    out = empty.run("replay", "recorded.ndjson", "--to", "events", expect=3, **disk.options())
    clear(out, disk.says, "queue")
    disk.relieve()
    empty.run("replay", "recorded.ndjson", "--to", "events")
    empty.run("run")
    assert sorted(set(landed(empty))) == list(range(ROWS))
    assert not (empty.folder / "lake/bronze/e__quarantine").exists()


def test_a_queue_that_is_full_when_it_is_read(empty):
    disk = FullDisk(queue(empty).folder / "queue", "1m")
    config = empty.folder / "pipeline.yml"
    config.write_text(config.read_text() + "max_batch_messages: 5\n")
    try:
        empty.run("replay", "recorded.ndjson", "--to", "events")
        filler = empty.folder / "queue/filler"
        with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        out = empty.run("run", expect=3)
        clear(out, disk.says, "queue")
        filler.unlink()
        empty.run("run")
        assert landed(empty) == list(range(ROWS))
    finally:
        disk.end()


def test_a_queue_that_cannot_be_written(empty, closed):
    queue(empty).run("replay", "recorded.ndjson", "--to", "events")
    disk = closed(empty.folder / "queue")
    clear(empty.run("replay", "recorded.ndjson", "--to", "events", expect=2, before=disk.before()), disk.says, "queue")
    clear(empty.run("run", expect=2, before=disk.before()), disk.says, "queue")
    disk.end()
    empty.run("run")
    assert landed(empty) == list(range(ROWS))
