"""The local HTTP API for business systems: loopback only, token, Host and Origin checked, never a level."""
