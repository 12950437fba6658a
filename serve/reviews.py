"""What waits for a person, and what people decided: a SQLite file beside the index, which several services may share.

A decision is on disk before it is answered. It counts in the index a moment later; killed in between, it does so when
the next service opens the file.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rubrika.errors import RubrikaError
from rubrika.ingest.write import timestamp
from rubrika.serve.database import alone, opened

UNCERTAIN, SUSPECTS, NEW, DISAGREEMENTS = "uncertain", "suspects", "new", "disagreements"
QUEUES = (UNCERTAIN, SUSPECTS, NEW, DISAGREEMENTS)
MAX_WAITING = 200_000  # products of a queue
LABEL, RIGHT, SKIP = "label", "right", "skip"
Action = Literal["label", "right", "skip"]
# Saved, counting in the index, taken back from it, taken back, or not possible there.
SAVED, APPLYING, DONE, UNDOING, UNDONE, FAILED = "saved", "applying", "done", "undoing", "undone", "failed"
_STANDS = f"state NOT IN ('{UNDOING}', '{UNDONE}')"
# A decision holds for a product in whatever queue it waited then; one is skipped in one queue.
_WAITS = (
    f"NOT EXISTS (SELECT 1 FROM decisions d WHERE d.number = items.number AND {_STANDS} AND "  # noqa: S608
    f"(d.id > items.after OR d.state IN ('{SAVED}', '{APPLYING}')) AND (d.action <> '{SKIP}' OR d.queue = items.queue))"
)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS items (queue TEXT, number TEXT, product_id TEXT, title TEXT, category_id TEXT, "
    "category TEXT, predicted_id TEXT, predicted TEXT, confidence REAL, rank REAL, shop TEXT, note TEXT, "
    "alike INTEGER, content TEXT, picture BLOB, after INTEGER, PRIMARY KEY (queue, number))",
    "CREATE TABLE IF NOT EXISTS decisions (id INTEGER PRIMARY KEY AUTOINCREMENT, act INTEGER, queue TEXT, number TEXT, "
    "product_id TEXT, title TEXT, action TEXT, category_id TEXT, category TEXT, by TEXT, at TEXT, state TEXT, "
    "before TEXT, reason TEXT)",
    "CREATE INDEX IF NOT EXISTS of_product ON decisions (number)",
    "CREATE INDEX IF NOT EXISTS by_state ON decisions (state)",
    "CREATE INDEX IF NOT EXISTS ranked ON items (queue, rank, number)",
    "CREATE INDEX IF NOT EXISTS numbered ON items (number)",
)
# Stored as JSON: they may be numbers or texts, or more.
_JSON = {"product_id", "category_id", "predicted_id", "content", "before"}
Id = int | str


@dataclass(frozen=True, slots=True)
class Item:
    """A product that waits in a queue, and what is known of it there."""

    queue: str
    number: str  # of the product in the store
    product_id: Id  # as its owner writes it
    title: str
    category_id: Id | None = None  # of the label that it has
    category: str = ""
    predicted_id: Id | None = None
    predicted: str = ""
    confidence: float | None = None
    rank: float = 0.0  # the least comes first
    shop: str = ""
    note: str = ""
    alike: int = 0  # equal for near duplicates
    content: dict[str, Any] | None = None  # of a product that is not stored
    picture: bytes | None = None  # of one, where it came in its row; kept, and read by `Reviews.picture` alone


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a product."""

    id: int
    act: int  # equal for those that were decided together
    queue: str
    number: str
    product_id: Id
    title: str
    action: str
    category_id: Id | None  # None with a `category`: one that has no id yet
    category: str
    by: str
    at: str
    state: str
    before: dict[str, Any] | None  # what the payload said of the category; empty of a product that was not stored
    reason: str | None  # why it is not possible


@dataclass(frozen=True, slots=True)
class Queue:
    """How far a queue is."""

    name: str
    waiting: int
    decided: int


@dataclass(frozen=True, slots=True)
class Filters:
    """Which of a queue are wanted."""

    category: str = ""  # words of the path of the label or of the prediction
    shop: str = ""
    least: float = 0.0  # confidence
    most: float = 1.0

    def where(self) -> tuple[str, list[object]]:
        """As a condition of SQL, and its values."""
        parts, values = ["1"], list[object]()
        for word in self.category.split():
            parts.append("instr(folded(category || ' ' || predicted), ?)")
            values.append(word.casefold())
        if self.shop:
            parts.append("instr(folded(shop), ?)")
            values.append(self.shop.casefold())
        if (self.least, self.most) != (0.0, 1.0):
            parts.append("confidence BETWEEN ? AND ?")
            values += [self.least, self.most]
        return " AND ".join(parts), values


def reviews_path(folder: Path) -> Path:
    """Where the reviews of an index are."""
    return folder.with_name(f"{folder.name}.reviews.sqlite")


def check_room(waiting: int) -> None:
    """RubrikaError when more would wait in a queue than may."""
    if waiting > MAX_WAITING:
        advice = "decide some first, or leave the surest out"
        raise RubrikaError(f"more than {MAX_WAITING:,} products would wait in a queue; {advice}")


class Reviews:
    """The reviews of one index."""

    def __init__(self, folder: Path) -> None:
        self._path = reviews_path(folder)
        with self._opened(write=True) as db:
            for statement in _TABLES:
                db.execute(statement)

    def fill(self, queue: str, items: Sequence[Item]) -> int:
        """Let these wait instead of what waits in the queue; return how many do."""
        check_room(len(items))
        with self._opened(write=True) as db:
            db.execute(f"DELETE FROM items WHERE queue = ? AND {_WAITS}", (queue,))  # noqa: S608
            self._unskip(db, queue)
            # Their numbers were of another time, and would be those of other products now.
            db.execute("UPDATE items SET alike = 0 WHERE queue = ?", (queue,))
            db.executemany(_INSERT, map(_values, items))
        return self.queue(queue).waiting

    def add(self, items: Sequence[Item]) -> None:
        """Let these wait beside the others."""
        with self._opened(write=True) as db:
            db.executemany(_INSERT, map(_values, items))
            for queue in {item.queue for item in items}:
                rows = db.execute("SELECT count(*) FROM items WHERE queue = ?", (queue,)).fetchone()[0]
                # Of those decided the rows stay; to leave them out takes longer.
                check_room(rows if rows <= MAX_WAITING else _count(db, queue))

    def keep_pictures(self, pictures: Mapping[str, bytes]) -> None:
        """Keep pictures of products that wait and are not stored."""
        change = "UPDATE items SET picture = ? WHERE number = ? AND content IS NOT NULL"
        with self._opened(write=True) as db:
            db.executemany(change, [(picture, number) for number, picture in pictures.items()])

    def unskip(self, queue: str) -> None:
        """Let those wait again that were skipped."""
        with self._opened(write=True) as db:
            self._unskip(db, queue)

    def queue(self, name: str) -> Queue:
        """How far one queue is."""
        with self._opened() as db:
            decided = f"SELECT count(DISTINCT number) FROM decisions WHERE queue = ? AND action <> ? AND {_STANDS}"  # noqa: S608
            return Queue(name, _count(db, name), db.execute(decided, (name, SKIP)).fetchone()[0])

    def waiting(self, queue: str, wanted: Filters, limit: int, offset: int = 0) -> tuple[int, list[Item]]:
        """How many wait of those wanted, and some of them, in their order."""
        condition, values = wanted.where()
        where = f"FROM items WHERE queue = ? AND {condition} AND {_WAITS}"
        with self._opened() as db:
            count = db.execute(f"SELECT count(*) {where}", (queue, *values)).fetchone()[0]
            page = f"SELECT {_READ} {where} ORDER BY rank, number LIMIT ? OFFSET ?"
            return count, [_item(row) for row in db.execute(page, (queue, *values, limit, offset))]

    def item(self, number: str, queue: str | None = None) -> Item | None:
        """A product as it waits, or waited, in a queue; in any, where none is named."""
        with self._opened() as db:
            found = db.execute(
                f"SELECT {_READ} FROM items WHERE number = ? AND queue = coalesce(?, queue) "  # noqa: S608
                "ORDER BY content IS NULL LIMIT 1",
                (number, queue),
            ).fetchone()
            return _item(found) if found else None

    def picture(self, number: str) -> bytes | None:
        """The picture of a product, where it came in its row."""
        query = "SELECT picture FROM items WHERE number = ? AND picture IS NOT NULL LIMIT 1"
        with self._opened() as db:
            found = db.execute(query, (number,)).fetchone()
            return bytes(found[0]) if found else None

    def alike(self, item: Item, limit: int) -> list[Item]:
        """The near duplicates of a product that wait in its queue, too."""
        query = (
            f"SELECT {_READ} FROM items WHERE queue = ? AND alike = ? AND number <> ? AND {_WAITS} "  # noqa: S608
            "ORDER BY rank, number LIMIT ?"
        )
        with self._opened() as db:
            found = db.execute(query, (item.queue, item.alike, item.number, limit)) if item.alike else ()
            return [_item(row) for row in found]

    def about(self, category: str, limit: int) -> list[Item]:
        """Products that wait and have, or may belong to, a category of this path; the surest first."""
        query = (
            f"SELECT {_READ} FROM items WHERE (category = ? OR predicted = ?) AND {_WAITS} "  # noqa: S608
            "ORDER BY rank, number LIMIT ?"
        )
        with self._opened() as db:
            return [_item(row) for row in db.execute(query, (category, category, limit))]

    def decide(self, decisions: Sequence[tuple[Item, Action, Id | None, str]], by: str) -> int:
        """Save what a person decided of products, each with an action, a category's id and its path; one act."""
        now = timestamp()
        with self._opened(write=True) as db:
            act = db.execute("SELECT coalesce(max(act), 0) + 1 FROM decisions").fetchone()[0]
            for item, action, category_id, category in decisions:
                named = (json.dumps(item.product_id), item.title, action, json.dumps(category_id), category)
                row = (act, item.queue, item.number, *named, by, now, DONE if action == SKIP else SAVED)
                # A later decision takes the place of an earlier one that does not count yet; to skip decides nothing.
                earlier = "SELECT * FROM decisions WHERE number = ? AND state = ?"
                replaced = [] if action == SKIP else db.execute(earlier, (item.number, SAVED)).fetchall()
                db.execute(
                    "INSERT INTO decisions (act, queue, number, product_id, title, action, category_id, category, by, "
                    "at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
                for each in map(_decision, replaced):
                    _withdraw(db, each)
        return int(act)

    def undo(self, by: str, act: int | None = None) -> list[Decision]:
        """Take back what was decided together, by default the last of this person; return what that was."""
        with self._opened(write=True) as db:
            if act is None:
                last = db.execute(f"SELECT max(act) FROM decisions WHERE by = ? AND {_STANDS}", (by,))  # noqa: S608
                act = last.fetchone()[0]
            found = db.execute(f"SELECT * FROM decisions WHERE act = ? AND {_STANDS}", (act,))  # noqa: S608
            taken = [_decision(row) for row in found]
            for each in taken:
                _withdraw(db, each)
        return taken

    def pending(self, state: str, limit: int) -> list[Decision]:
        """Decisions in one state in the order to make them: the oldest first, or the latest to be taken back."""
        order = "DESC" if state == UNDOING else "ASC"
        with self._opened() as db:
            rows = db.execute(f"SELECT * FROM decisions WHERE state = ? ORDER BY id {order} LIMIT ?", (state, limit))  # noqa: S608
            return [_decision(row) for row in rows]

    def settling(self) -> AbstractContextManager[None]:
        """Make decisions count, as one process does at a time; IndexFolderError while another one does."""
        return alone(self._path.with_suffix(".lock"))

    def mark(self, state: str, changes: Mapping[int, str], before: Mapping[int, object] | None = None) -> None:
        """Bring decisions, by id, from a state into another one, unless somebody was quicker; `before` is kept once."""
        with self._opened(write=True) as db:
            for id, after in changes.items():
                db.execute("UPDATE decisions SET state = ? WHERE id = ? AND state = ?", (after, id, state))
            for id, said in (before or {}).items():
                db.execute("UPDATE decisions SET before = coalesce(before, ?) WHERE id = ?", (json.dumps(said), id))

    def fail(self, decision: Decision, reason: str) -> None:
        """Say why a decision cannot count, unless it was taken back meanwhile."""
        change = "UPDATE decisions SET state = ?, reason = ? WHERE id = ? AND state = ?"
        with self._opened(write=True) as db:
            db.execute(change, (FAILED, reason, decision.id, decision.state))

    def decisions(self, limit: int = -1, offset: int = 0) -> list[Decision]:
        """Decisions that stand, the latest first."""
        query = f"SELECT * FROM decisions WHERE {_STANDS} ORDER BY id DESC LIMIT ? OFFSET ?"  # noqa: S608
        with self._opened() as db:
            return [_decision(row) for row in db.execute(query, (limit, offset))]

    def decided(self) -> int:
        """How many decisions stand."""
        with self._opened() as db:
            return int(db.execute(f"SELECT count(*) FROM decisions WHERE {_STANDS}").fetchone()[0])  # noqa: S608

    @staticmethod
    def _unskip(db: sqlite3.Connection, queue: str) -> None:
        change = f"UPDATE decisions SET state = '{UNDONE}' WHERE queue = ? AND action = ? AND {_STANDS}"  # noqa: S608
        db.execute(change, (queue, SKIP))

    @contextmanager
    def _opened(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        with opened(self._path, write) as db:
            db.row_factory = sqlite3.Row
            # SQL's own comparison knows the letters of ASCII only.
            db.create_function("folded", 1, str.casefold, deterministic=True)
            yield db


# A list of products needs none of their pictures.
_READ = ", ".join(each.name for each in fields(Item) if each.name != "picture")
_INSERT = (
    f"INSERT OR REPLACE INTO items VALUES ({', '.join('?' * len(fields(Item)))}, "  # noqa: S608
    "(SELECT coalesce(max(id), 0) FROM decisions))"
)


def _count(db: sqlite3.Connection, queue: str) -> int:
    """How many wait in a queue."""
    waiting = db.execute(f"SELECT count(*) FROM items WHERE queue = ? AND {_WAITS}", (queue,))  # noqa: S608
    return int(waiting.fetchone()[0])


def _withdraw(db: sqlite3.Connection, decision: Decision) -> None:
    """Let a decision stand no longer; a later one on its product does, and remembers what was before them both."""
    following = (
        f"SELECT min(id) FROM decisions WHERE number = ? AND id > ? AND action <> '{SKIP}' "  # noqa: S608
        f"AND state IN ('{SAVED}', '{APPLYING}', '{DONE}')"
    )
    # One that is saved says what was before where an earlier one, which counted, was withdrawn.
    counts = decision.action != SKIP and decision.state != FAILED and decision.before is not None
    later = db.execute(following, (decision.number, decision.id)).fetchone()[0] if counts else None
    if later is not None:
        db.execute("UPDATE decisions SET before = ? WHERE id = ?", (json.dumps(decision.before), later))
    state = UNDOING if counts and later is None else UNDONE
    db.execute("UPDATE decisions SET state = ? WHERE id = ?", (state, decision.id))


def _values(item: Item) -> list[object]:
    return [json.dumps(value) if name in _JSON else value for name, value in asdict(item).items()]


def _item(row: sqlite3.Row) -> Item:
    return Item(**{name: _read(name, row[name]) for name in row.keys()})  # noqa: SIM118 - a row is no mapping


def _decision(row: sqlite3.Row) -> Decision:
    return Decision(**{name: _read(name, row[name]) for name in row.keys()})  # noqa: SIM118


def _read(name: str, value: Any) -> Any:  # noqa: ANN401
    return json.loads(value) if name in _JSON and value is not None else value
