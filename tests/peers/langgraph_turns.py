"""LangGraph with its SQLite checkpointer: an agent loop of a model node and a tool node.
langgraph_turns.py run FILE RUNS TURNS | count FILE TURNS"""

import json
import sys
import time
from typing import Annotated, TypedDict

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages


class State(TypedDict):
    messages: Annotated[list, add_messages]


def graph(saver: SqliteSaver, turns: int):
    def model(state: State) -> dict:
        said = sum(isinstance(message, AIMessage) for message in state["messages"])
        call = {"id": f"call_{said}", "name": "noop", "args": {}}
        return {"messages": [AIMessage("", tool_calls=[call])]}

    def tool(state: State) -> dict:
        call = state["messages"][-1].tool_calls[0]
        return {"messages": [ToolMessage("nothing", tool_call_id=call["id"])]}

    def more(state: State) -> str:
        return END if len(state["messages"]) > 2 * turns else "model"

    builder = StateGraph(State)
    builder.add_node("model", model)
    builder.add_node("tool", tool)
    builder.add_edge(START, "model")
    builder.add_edge("model", "tool")
    builder.add_conditional_edges("tool", more)
    return builder.compile(checkpointer=saver)


def config(run: int) -> dict:
    return {"configurable": {"thread_id": str(run)}, "recursion_limit": 10_000}


def run(file: str, runs: int, turns: int) -> None:
    with SqliteSaver.from_conn_string(file) as saver:
        agent = graph(saver, turns)
        took = []
        for number in range(runs):
            began = time.perf_counter()
            agent.invoke({"messages": [HumanMessage("go")]}, config(number), durability="sync")
            took.append((time.perf_counter() - began) * 1e3 / turns)
        print(json.dumps({"turn_ms": took}), flush=True)
        time.sleep(600)


def count(file: str, turns: int) -> None:
    with SqliteSaver.from_conn_string(file) as saver:
        agent = graph(saver, turns)
        threads = [row[0] for row in saver.conn.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()]
        states = [agent.get_state(config(int(thread))).values["messages"] for thread in threads]
        print(sum(len(messages) > 2 * turns for messages in states))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        count(sys.argv[2], int(sys.argv[3]))
