"""runc for a machine whose root lacks CAP_SYS_RESOURCE.

A privileged container asks for every capability there is, and runc fails on one that it may not give.
The wrapper takes that one out of what runc is about to read: the bundle's config.json on create, the
process file on exec. Used only where the capability is missing (``host.has_cap_sys_resource``).
"""

from __future__ import annotations

import shlex
from pathlib import Path

_SCRIPT = """\
#!/bin/sh
# Written by devcluster: this machine lacks CAP_SYS_RESOURCE (devcluster/runcwrap.py says why).
previous= file=
for word in "$@"; do
  case "$previous" in
    --bundle|-b) file=$word/config.json ;;
    --process|-p) file=$word ;;
  esac
  previous=$word
done
if [ -n "$file" ] && [ -f "$file" ]; then
  sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$file"
fi
"""


def script(runc: Path) -> str:
    """The text of the wrapper around ``runc``."""
    return f'{_SCRIPT}exec {shlex.quote(str(runc))} "$@"\n'
