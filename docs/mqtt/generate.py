"""Writes the published contract (JSON Schema files and the AsyncAPI document) from the types that the station speaks with.

python docs/mqtt/generate.py
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from agent.broker import remote_command
from agent.broker.messages import Acknowledgement, Birth, Metrics, Replay, State
from agent.events.event import ALERT_DATA_SCHEMA, ALERT_SCHEMA, DATA_SCHEMA, SCHEMA, AlertData, Envelope, PartData

FOLDER = Path(__file__).parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENTS = {"part": (Envelope[PartData], SCHEMA, DATA_SCHEMA), "alert": (Envelope[AlertData], ALERT_SCHEMA, ALERT_DATA_SCHEMA)}
SAID: dict[str, Any] = {"state": State, "birth": Birth, "metrics": Metrics, "response": remote_command.Response}
HEARD: dict[str, Any] = {"ack": Acknowledgement, "replay": Replay}
COMMANDS = {f"cmd-{name}": kind for name, kind in remote_command.TABLE.items()}
PREFIX = {"description": "`mqtt: {topic: ...}` of the station's file, such as enterprise/site/area/line/station"}


def contract() -> dict[str, str]:
    """File name below this folder to its text."""
    schemas = {name: schema(name, kind) for name, kind in {**SAID, **HEARD, **COMMANDS}.items()}
    schemas |= {name: _event(name, *event) for name, event in EVENTS.items()}
    files = {f"schemas/{name}.json": content for name, content in schemas.items()} | {"asyncapi.json": asyncapi()}
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in sorted(files.items())}


def schema(name: str, kind: Any) -> dict[str, Any]:
    """JSON Schema of a type, its descriptions on one line each."""
    found = {"$schema": DIALECT, "$id": f"urn:kensa:schema:{name}", **msgspec.json.schema(kind)}
    for one in found["$defs"].values():
        if "description" in one:
            one["description"] = re.sub(r"\s+", " ", inspect.cleandoc(one["description"]))
    return found


def _event(name: str, kind: Any, type_: str, data_schema: str) -> dict[str, Any]:
    found = schema(name, kind)
    properties = found["$defs"][found["$ref"].rpartition("/")[2]]["properties"]
    properties["type"] = {"const": type_}
    major = data_schema.rpartition(".")[0]
    properties["dataschema"] = {"type": "string", "pattern": f"^{re.escape(major)}\\.[0-9]+$"}
    found["$id"] = data_schema
    return found


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document: each topic, its direction, its QoS; `send` is what the station does."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    topics = [
        ("passed", "result/pass", "part", "send", 1, False),
        ("rejected", "result/reject", "part", "send", 1, False),
        ("alert", "alert", "alert", "send", 1, False),
        ("state", "state", "state", "send", 1, True),
        ("birth", "birth", "birth", "send", 1, True),
        ("metrics", "metrics", "metrics", "send", 0, True),
        ("response", "response", "response", "send", 1, False),
        ("ack", "ack", "ack", "receive", 1, False),
        ("replay", "replay", "replay", "receive", 1, False),
        *((key, f"cmd/{name}", key, "receive", 1, False) for key, name in zip(COMMANDS, remote_command.TABLE, strict=True)),
    ]
    for key, topic, message, action, qos, is_retained in topics:
        channels[key] = {
            "address": f"{{prefix}}/{topic}",
            "parameters": {"prefix": PREFIX},
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        }
        operations[key] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{key}"},
            "bindings": {"mqtt": {"qos": qos, "retain": is_retained, "bindingVersion": "0.2.0"}},
        }
        if key in COMMANDS:
            operations[key]["reply"] = {
                "address": {"location": "$message.header#/responseTopic"},
                "channel": {"$ref": "#/channels/response"},
            }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "A Kensa station", "version": DATA_SCHEMA.rpartition(":")[2]},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": {name: _message(name) for name in (*EVENTS, *SAID, *HEARD, *COMMANDS)}},
    }


def _message(name: str) -> dict[str, Any]:
    kind = "application/cloudevents+json" if name in EVENTS else "application/json"
    return {"name": name, "contentType": kind, "payload": {"$ref": f"./schemas/{name}.json"}}


if __name__ == "__main__":
    for file, text in contract().items():
        (FOLDER / file).write_text(text)
