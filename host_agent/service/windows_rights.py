"""Who may do what with the agent's files on Windows.

SYSTEM and administrators may do everything; the account of the service may write its data and its log, and read the rest.
Ordinary users, who include the person being rated, may do nothing: not read a rating in the database, not the password of the
broker, not the configuration. What is closed so inherits nothing from the folder above it.
"""

from __future__ import annotations

from pathlib import Path

import ntsecuritycon
import win32security

from host_agent.config import Config
from host_agent.errors import AgentError
from host_agent.service.windows_names import home

SYSTEM, ADMINISTRATORS, SERVICE = "S-1-5-18", "S-1-5-32-544", "S-1-5-19"
_READ = ntsecuritycon.FILE_GENERIC_READ | ntsecuritycon.FILE_GENERIC_EXECUTE
_CHANGE = _READ | ntsecuritycon.FILE_GENERIC_WRITE | ntsecuritycon.DELETE


def give(config: Path, settings: Config, folders: list[Path]) -> None:
    """Have the service write `folders` and read its secrets, and nobody else who is not an administrator."""
    if config.parent == home().resolve():
        close_folder(config.parent, writable=False)
    for folder in folders:
        if folder.parent == folder:
            raise AgentError(f"data_dir: {folder} 是整个磁盘，请改用文件夹 is a whole disk; name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        close_folder(folder, writable=True)
    for secret in (settings.mqtt.password_file, settings.mqtt.key_file):
        if secret is not None and secret.exists():
            _close(secret, 0, _READ)


def close_folder(folder: Path, *, writable: bool) -> None:
    """Close a folder and what is in it to everybody but SYSTEM, administrators and, for what it needs, the service."""
    inherited = win32security.OBJECT_INHERIT_ACE | win32security.CONTAINER_INHERIT_ACE
    _close(folder, inherited, _CHANGE if writable else _READ)


def _close(path: Path, inherited: int, service: int) -> None:
    rights = win32security.ACL()
    for who, what in (
        (SYSTEM, ntsecuritycon.FILE_ALL_ACCESS),
        (ADMINISTRATORS, ntsecuritycon.FILE_ALL_ACCESS),
        (SERVICE, service),
    ):
        rights.AddAccessAllowedAceEx(win32security.ACL_REVISION_DS, inherited, what, win32security.ConvertStringSidToSid(who))
    only_these = win32security.DACL_SECURITY_INFORMATION | win32security.PROTECTED_DACL_SECURITY_INFORMATION
    win32security.SetNamedSecurityInfo(str(path), win32security.SE_FILE_OBJECT, only_these, None, None, rights, None)
