"""What people and programs talk to: the command line, the HTTP API and the page."""
