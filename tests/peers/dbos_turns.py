"""DBOS on SQLite: workflows of durable steps, two per turn. dbos_turns.py run FILE RUNS TURNS | count FILE"""

import json
import sqlite3
import sys
import time


def run(file: str, runs: int, turns: int) -> None:
    from dbos import DBOS, DBOSConfig

    config: DBOSConfig = {
        "name": "turns",
        "system_database_url": f"sqlite:///{file}",
        "log_level": "ERROR",
    }
    DBOS(config=config)

    @DBOS.step()
    def model() -> dict:
        return {"role": "assistant", "blocks": [{"type": "tool_call", "id": "call_0", "name": "noop", "input": {}}]}

    @DBOS.step()
    def tool() -> str:
        return "nothing"

    @DBOS.workflow()
    def work() -> float:
        began = time.perf_counter()
        for _ in range(turns):
            model()
            tool()
        return (time.perf_counter() - began) * 1e3 / turns

    DBOS.launch()
    print(json.dumps({"turn_ms": [work() for _ in range(runs)]}), flush=True)
    time.sleep(600)


def count(file: str, turns: int) -> None:
    whole = """SELECT count(*) FROM (SELECT workflow_uuid FROM operation_outputs
               GROUP BY workflow_uuid HAVING count(*) >= ?)"""
    print(sqlite3.connect(file).execute(whole, (2 * turns,)).fetchone()[0])


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        count(sys.argv[2], int(sys.argv[3]))
