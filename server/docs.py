"""The OpenAPI document and the page to browse it, with no script from anywhere else."""

from importlib import resources

from flask import Response, jsonify, render_template, send_from_directory
from flask_openapi import OpenAPI

DESCRIPTION = (
    "Image-similarity search. Results are ordered by Euclidean distance between features; "
    "every error has the shape {error: {code, message, hint}}."
)

# Swagger UI sets style attributes from its script; nothing else is loosened, here alone.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def register(app: OpenAPI) -> None:
    """Add ``/openapi.json`` and ``/docs``."""
    swagger = str(resources.files("flask_openapi_swagger") / "templates" / "swagger")

    @app.route("/openapi.json")
    def openapi_document() -> Response:
        return jsonify(app.api_doc)

    @app.route("/docs")
    def docs_page() -> Response:
        response = Response(render_template("docs.html"))
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    @app.route("/docs/<path:name>")
    def docs_file(name: str) -> Response:
        return send_from_directory(swagger, name, max_age=86_400)
