"""Uploaded files become documents in the background, by one process apart from the API."""
