"""The agent on the window PC: device to SQLite to MQTT, and the receipt back.

Lives here: the conversation with the device, the store, the delivery, the local API, the CLI. It holds no device key and can
neither make nor change a record. Must not: import any other room than `protocol`, or decode a level for anybody at the window.
"""

AGENT_VERSION = "0.1.0"
