"""Nobody is left behind: a tiny shell that outlives pytest just long enough to kill what pytest started.

The kernel kills a model's process when pytest dies (``die_with_parent``), but not what that process itself started, and not
outside Linux. So a shell in a session of its own reads the process groups from a pipe; when the pipe closes, however pytest
ended, it kills those that were not taken off the list, and removes their temporary folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess

_SCRIPT = """
while read -r what group home; do
  case $what in
    add) set -- "$@" "$group $home" ;;
    drop) for each do shift; [ "${each%% *}" = "$group" ] || set -- "$@" "$each"; done ;;
  esac
done
for each do
  kill -s KILL -- "-${each%% *}"
  rm -rf -- "${each#* }"
done
"""


class Guard:
    """Kills the listed process groups when this process is gone. Does nothing where there is no POSIX shell."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def add(self, group: int, home: str = "") -> None:
        """Put a process group on the list, with the folder that is to go with it."""
        if self._shell is None or self._owner != os.getpid():
            self._start()
        self._tell(f"add {group} {home}\n")

    def drop(self, group: int) -> None:
        """Take a process group off the list: it is gone and its number may be used again."""
        if self._owner == os.getpid():
            self._tell(f"drop {group}\n")

    def close(self) -> None:
        """End the shell; what is still listed is killed."""
        shell, self._shell = self._shell, None
        if shell is not None and shell.stdin is not None and self._owner == os.getpid():
            shell.stdin.close()
            shell.wait()

    def _start(self) -> None:
        program = shutil.which("sh") if os.name == "posix" else None
        if program is None:
            return
        self._owner = os.getpid()
        self._shell = subprocess.Popen(
            [program, "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, bufsize=0,
        )  # fmt: skip

    def _tell(self, line: str) -> None:
        if self._shell is None or self._shell.stdin is None:
            return
        try:
            self._shell.stdin.write(os.fsencode(line))
        except OSError:
            self._shell = None  # somebody killed it; the kernel's own safeguard remains
