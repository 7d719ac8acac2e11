"""The AsyncAPI 3 document of the MQTT part: channels, who sends what, and the schema of every payload.

From topics.py and the pydantic models, with the sentences and examples of the protocol page. docs/mqtt/asyncapi.json; a test holds
what real programs publish against it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from protocol import PROTOCOL_VERSION
from protocol.generate.page_mqtt import TOPICS, examples, sentences
from protocol.payloads import Payload
from protocol.topics import ROOT, Up

PATH: Final = "docs/mqtt/asyncapi.json"
_PARAMETERS: Final = {
    "area": "行政区划代码，6 位 division code, 6 digits",
    "hall": "大厅 hall",
    "window": "窗口号 window number",
}
_QOS_0: Final = (Up.HEALTH,)
_RETAINED: Final = (Up.STATE,)


def document() -> dict[str, Any]:
    """Return the document."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    shown = examples()
    for what, model in TOPICS.items():
        is_up = isinstance(what, Up)
        branch = "up" if is_up else "down"
        name = f"{branch}_{what.value}"
        channels[name] = {
            "address": f"{ROOT}/{{area}}/{{hall}}/{{window}}/{branch}/{what.value}",
            "description": sentences(type(what))[what.name],
            "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}},
            "parameters": {parameter: {"description": words} for parameter, words in _PARAMETERS.items()},
        }
        operations[name] = {
            "action": "send" if is_up else "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{model.__name__}"}],
            "bindings": {"mqtt": {"qos": 0 if what in _QOS_0 else 1, "retain": what in _RETAINED, "bindingVersion": "0.2.0"}},
        }
        messages[model.__name__] = {
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
            "examples": [{"payload": json.loads(shown[model].to_json())}],
        }
        schemas |= _schemas(model)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "好差评消息 Rating messages",
            "version": str(PROTOCOL_VERSION),
            "description": "窗口代理程序所见 As a window's agent sees it: it sends on `up`, receives on `down`. docs/protocol.md",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _schemas(model: type[Payload]) -> dict[str, Any]:
    """Return the schema of a payload and of its parts, each by its name."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def generate() -> str:
    """Return the text of the file."""
    return json.dumps(document(), ensure_ascii=False, indent=1) + "\n"
