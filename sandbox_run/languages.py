"""``sandbox-run languages``: what can be run, and how a program gets its event."""

from typing import Final

import click

from sandbox_run import exit_codes, output, source, tables
from sandbox_run.options import FORMATS, output_option

_HEADING: Final = ("LANGUAGE", "SUFFIXES", "CODE", "EVENT")
_ABOUT: Final = {
    "python": ("a plain script, or one that defines handler(event)", "the argument of handler"),
    "javascript": ("a program for node (CommonJS)", "JSON in the file that EVENT_FILE names"),
    "shell": ("a program for bash", "JSON in the file that EVENT_FILE names"),
}


@click.command(short_help="What can be run.")
@output_option(FORMATS)
def languages(shown: output.Format) -> int:
    """List the languages, the suffixes by which they are told, and how a program gets its event."""
    suffixes = {language: [name for name, found in source.SUFFIXES.items() if found == language] for language in _ABOUT}
    if shown in ("json", "yaml"):
        items = [
            {"language": language, "suffixes": suffixes[language], "code": code, "event": event}
            for language, (code, event) in _ABOUT.items()
        ]
        output.write_document({"languages": items}, shown)
    else:
        rows = [(language, " ".join(suffixes[language]), *about) for language, about in _ABOUT.items()]
        tables.write_rows(_HEADING, rows, raw=shown == "raw")
    return exit_codes.OK
