"""The demo's page: the device to click, the window PC, the collection beside them."""
