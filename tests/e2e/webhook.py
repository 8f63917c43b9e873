"""A receiver of Alertmanager's notifications, which keeps every body."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook:
    """Listens on 127.0.0.1 inside the `with` block."""

    def __init__(self):
        self.bodies: list[dict] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                bodies.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self) -> "Webhook":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def alerts(self, alertname: str, **labels: str) -> list[dict]:
        """The received notifications of this alert, oldest first."""
        wanted = {"alertname": alertname, **labels}.items()
        return [alert for body in list(self.bodies) for alert in body["alerts"] if wanted <= alert["labels"].items()]

    def status(self, alertname: str, **labels: str) -> str:
        """`firing` or `resolved`, from the last notification; empty before the first."""
        return next((alert["status"] for alert in reversed(self.alerts(alertname, **labels))), "")
