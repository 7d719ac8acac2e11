"""Requests from afar to this window's agent: who may ask (gate), what is done (acts), with which key (key).

Nothing here opens a connection: requests come and answers go through the uplink's. Nothing is answered without a key file.
"""
