"""The pages: HTML that is rendered on the server."""
