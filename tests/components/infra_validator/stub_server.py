"""Stands for tensorflow_model_server: takes its flags, and answers what the test has written beside it."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
ANSWERS = json.loads((HERE / "answers.json").read_text())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._send(ANSWERS["status"])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        (HERE / "request.json").write_text(json.dumps({"path": self.path, "body": json.loads(body)}))
        self._send(ANSWERS["predict"], ANSWERS.get("code", 200))

    def _send(self, answer, code=200):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


if "exit" in ANSWERS:
    sys.exit(ANSWERS["exit"])
assert Path(FLAGS["model_base_path"], "1", "saved_model.pb").is_file()
HTTPServer(("127.0.0.1", int(FLAGS["rest_api_port"])), Handler).serve_forever()
