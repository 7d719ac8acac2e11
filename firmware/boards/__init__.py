"""What a board is made of: the only folder that knows `machine` and `rp2`.

Lives here: one module per board, and the flash drivers they share. Must not: anything that decides what a press means. On the
board this package lies beside `evaluator`; in the repository both are below `firmware`.
"""

try:
    from ..evaluator.device import Device
    from ..evaluator.feedback import RED, SOUND_CALL, SOUND_INVITE, SOUND_REFUSED, SOUND_THANKS, SOUND_WELCOME
    from ..evaluator.hardware import Board, Flash
    from ..evaluator.identity import Identity
except ImportError:
    from evaluator.device import Device  # type: ignore[no-redef]  # on the board
    from evaluator.feedback import RED, SOUND_CALL, SOUND_INVITE, SOUND_REFUSED, SOUND_THANKS, SOUND_WELCOME  # type: ignore[no-redef]  # on the board  # type: ignore[no-redef]  # on the board
    from evaluator.hardware import Board, Flash  # type: ignore[no-redef]  # on the board
    from evaluator.identity import Identity  # type: ignore[no-redef]  # on the board

__all__ = [
    "RED",
    "SOUND_CALL",
    "SOUND_INVITE",
    "SOUND_REFUSED",
    "SOUND_THANKS",
    "SOUND_WELCOME",
    "Board",
    "Device",
    "Flash",
    "Identity",
]
