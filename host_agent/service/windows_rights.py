"""Who may do what with the agent's files on Windows.

SYSTEM and administrators may do everything; the account of the service may write its data and its log, and read the rest.
Ordinary users, who include the person being rated, may do nothing: not read a rating in the database, not the password of the
broker, not the configuration. What is closed so inherits nothing from the folder above it; what an administrator has given to
somebody on a single file stays.
"""

from __future__ import annotations

from pathlib import Path

import win32security

from host_agent.config import Config
from host_agent.errors import AgentError
from host_agent.service.windows_names import home
from host_agent.windows import secret_files

# P: nothing comes from above; OICI: what is made inside is the same; SY, BA, LS: SYSTEM, administrators, LocalService
READS = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;LS)"
CHANGES = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;LS)"
READS_FILE = "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;LS)"
_SDDL_REVISION = 1


def give(config: Path, settings: Config, folders: list[Path]) -> None:
    """Have the service write `folders` and read its secrets, and nobody else who is not an administrator."""
    if config.parent == home().resolve():
        close(config.parent, READS)
    for folder in folders:
        if folder.parent == folder:
            raise AgentError(f"data_dir: {folder} 是整个磁盘，请改用文件夹 is a whole disk; name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        close(folder, CHANGES)
    for secret in secret_files(settings):
        if secret.exists():
            close(secret, READS_FILE)


def close(path: Path, rights: str) -> None:
    """Give exactly these rights, and what is inside inherits them."""
    wanted = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(rights, _SDDL_REVISION)
    only_these = win32security.DACL_SECURITY_INFORMATION | win32security.PROTECTED_DACL_SECURITY_INFORMATION
    win32security.SetNamedSecurityInfo(
        str(path), win32security.SE_FILE_OBJECT, only_these, None, None, wanted.GetSecurityDescriptorDacl(), None
    )
