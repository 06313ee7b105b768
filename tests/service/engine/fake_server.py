"""A model server of a few lines, whose faults are ordered by environment variables. Run as a program."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> None:
    port, name = int(sys.argv[1]), sys.argv[2]
    fault = os.environ.get("FAKE_FAULT", "")
    key = os.environ["VLLM_API_KEY"]
    say(f"INFO 11-24 05:00:00 [fake.py:1] serving {name} on {port}")
    if fault == "tells its key":
        say(f"the key is {key}")
    if fault == "dies at once":
        say("Traceback (most recent call last):")
        say("ValueError: the weights are upside down")
        sys.exit(3)
    if fault == "ignores SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "worker" in fault:
        # One that stays in the group, and one that leaves it.
        code = "import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        workers = [
            subprocess.Popen([sys.executable, "-c", code], start_new_session=apart).pid for apart in (False, True)
        ]
        say(f"workers {workers[0]} {workers[1]}")
    if fault == "never ready":
        time.sleep(600)
    time.sleep(float(os.environ.get("FAKE_SLOWNESS_S", "0")))
    answers = threading.Event()
    answers.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not answers.is_set():
                time.sleep(600)
            if self.path == "/v1/models" and self.headers["Authorization"] != f"Bearer {key}":
                self.send_error(401)
                return
            body = json.dumps({"data": [{"id": name}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    lifetime_s = os.environ.get("FAKE_LIFETIME_S")
    if lifetime_s:
        threading.Timer(float(lifetime_s), lambda: os._exit(7)).start()
    hangs_after_s = os.environ.get("FAKE_HANGS_AFTER_S")
    if hangs_after_s:
        threading.Timer(float(hangs_after_s), answers.clear).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
