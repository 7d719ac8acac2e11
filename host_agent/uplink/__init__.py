"""The way up: which record is published when (pure), and the MQTT client that does it (shell)."""
