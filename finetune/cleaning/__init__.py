"""One standard for domain and general data: what is mended, what is dropped, and why."""
