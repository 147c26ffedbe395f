"""The command line ``gensr``."""

import locale
import os
import sys

from gensr_model.runtime.streams import use_utf8


def main() -> None:
    """The console script. Text is UTF-8 in files, arguments and streams, in any locale."""
    if not sys.flags.utf8_mode and locale.getencoding().lower() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    use_utf8()
    from flows.cli.app import app  # its modules read files at import, in UTF-8 too

    app(prog_name="gensr")
