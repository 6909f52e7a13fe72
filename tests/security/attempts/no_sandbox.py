"""In bwrap's place where the whole sandbox is taken away (``weakened``): ``no_sandbox.py INFO_FD WORKSPACE COMMAND…``.

Starts the command as its child, as bwrap does, and ends as it ends.
"""

import os
import sys


def main() -> None:
    """See the module's docstring."""
    info, workspace, *command = sys.argv[1:]
    child = os.fork()
    if child == 0:
        os.chdir(workspace)
        os.execv(command[0], command)
    os.write(int(info), f'{{"child-pid": {child}}}'.encode())
    os.close(int(info))
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
