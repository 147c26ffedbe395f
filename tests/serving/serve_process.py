"""A server of the bundles in a folder: ``python serve_process.py FOLDER``. The file ``alias`` names the champion."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from served_model import Folders

from gensr_model.serving.event_log import EventLog
from gensr_model.serving.http import server
from gensr_model.serving.http.app import create_app
from gensr_model.serving.http.versions import Versions
from tasks.serve.follow import Follower

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    root = Path(sys.argv[1])
    source = Folders({path.name: (path, None) for path in root.glob("version-*")}, "")
    versions = Versions(source, source.load("version-1"))
    bound = server.bind("127.0.0.1", 0)
    Follower(versions, lambda: (root / "alias").read_text(encoding="utf-8"), every=0.2).start()
    app = create_app(versions, events=EventLog(root / "events"))
    server.run(app, bound, lambda: print(server.address(bound), flush=True))
