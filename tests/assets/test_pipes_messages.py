"""What training says arrives whole, however its file grows."""

import json
import queue
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dagster_pipes import PipesDefaultMessageWriter

from assets.pipes_messages import WholeLineReader


def test_a_line_is_read_when_its_end_is_there(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    found: queue.Queue[Any] = queue.Queue()
    handler: Any = SimpleNamespace(handle_message=found.put)
    with WholeLineReader(path).read_messages(handler) as parameters:
        assert parameters == {PipesDefaultMessageWriter.FILE_PATH_KEY: str(path)}
        with path.open("a") as file:
            file.write(json.dumps({"number": 1}) + '\n{"nu')
            file.flush()
            assert found.get(timeout=20) == {"number": 1}
            threading.Event().wait(0.2)  # several looks at the piece
            assert found.empty()
            file.write('mber": 2}\n')
            file.flush()
            assert found.get(timeout=20) == {"number": 2}
            file.write('{"number": 3}\n{"number": 4')  # seen only when all is over
    assert [found.get_nowait() for _ in range(found.qsize())] == [{"number": 3}]


def test_half_a_line_costs_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    found: list[Any] = []
    handler: Any = SimpleNamespace(handle_message=found.append)
    with WholeLineReader(path).read_messages(handler):
        path.write_text('{"number": 1}\n{"num{"number": 2}\n{"number": 3}\n')
    assert found == [{"number": 1}, {"number": 3}]
