"""The application factory."""

from contextlib import suppress
from functools import partial
from http import HTTPStatus

from flask import Response, current_app, request
from flask_openapi import Info, OpenAPI
from werkzeug.http import parse_date
from werkzeug.middleware.proxy_fix import ProxyFix

from indexer import __version__
from indexer.analysis import Reports
from indexer.config import Config, ServerConfig
from indexer.search import build_progress
from server import errors
from server.admission import capacity, hosts
from server.api import batch, openapi, routes
from server.api import reports as reports_api
from server.api.bodies import local_url
from server.api.forms import CHUNK_BYTES, FORM_OVERHEAD_BYTES, InMemoryRequest
from server.api.thumbnails import ThumbnailCache
from server.api.url_queries import Fetcher
from server.current_index import CurrentIndex
from server.monitoring import health, logs, metrics
from server.web import collection, duplicates, evaluation, exports, pages, suspects, why

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# Cache-Control is not no-store: the browser's back button could then not show an upload's results.
DEFAULT_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
"""Headers of every answer whose view did not set its own: no foreign content, no framing."""


DATE_HEADERS = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_RANGE")


class Application(OpenAPI):
    """Flask with an OpenAPI document, and with uploads in memory."""

    request_class = InMemoryRequest

    def generate_spec_json(self) -> None:
        """Make the OpenAPI document: the library's, with what many operations share."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]  # it has no types
        openapi.complete(self.spec_json)


def create_app(config: Config) -> Application:
    """Make the web application for one store.

    The index is not opened yet: a server can start without one, and uses it as soon as it exists.
    """
    app = Application(
        "server",
        template_folder="web/templates",
        static_folder="web/static",
        info=Info(title="Lookalike", version=__version__, description=openapi.DESCRIPTION),
        security_schemes=openapi.SECURITY_SCHEMES,
        doc_ui=False,
        validation_error_callback=errors.raise_invalid_request,
        validation_error_model=errors.Error,
    )
    app.openapi_version = "3.1.0"
    app.json.sort_keys = False  # type: ignore[attr-defined]  # fields in the documented order
    app.config["MAX_CONTENT_LENGTH"] = max_request_bytes(config.server)
    app.extensions["current_index"] = CurrentIndex(config)
    app.extensions["fetcher"] = (
        Fetcher(config.server.max_upload_bytes, config.server.url_query_ports)
        if config.server.allow_url_queries
        else None
    )
    app.extensions["thumbnails"] = ThumbnailCache(config.server.thumbnail_cache_bytes)
    app.extensions["reports"] = Reports(config)
    if config.server.proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=config.server.proxies, x_proto=0, x_prefix=1
        )
    app.jinja_env.globals["local_url"] = local_url
    app.jinja_env.globals["build_progress"] = partial(build_progress, config.store)
    app.jinja_env.globals["image_files"] = app.extensions["current_index"].images
    app.jinja_env.globals["has_report"] = app.extensions["reports"].has
    errors.register(app)
    logs.register(app)
    app.before_request(_ignore_impossible_dates)
    app.after_request(_add_default_headers)
    app.after_request(_read_to_the_end)
    hosts.register(app, config.server)
    capacity.register(app, config.server)
    metrics.register(app)
    app.register_api(health.blueprint)
    app.register_api(metrics.blueprint)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(why.blueprint)
    app.register_blueprint(collection.blueprint)
    app.register_blueprint(exports.blueprint)
    app.register_blueprint(duplicates.blueprint)
    app.register_blueprint(suspects.blueprint)
    app.register_blueprint(evaluation.blueprint)
    app.register_api(routes.blueprint)
    app.register_api(batch.blueprint)
    app.register_api(reports_api.blueprint)
    openapi.register(app)
    return app


def max_request_bytes(server: ServerConfig) -> int:
    """Return the largest allowed size of a request's body."""
    return server.max_upload_bytes + FORM_OVERHEAD_BYTES


def _ignore_impossible_dates() -> None:
    """Drop conditions on dates whose year no date has: Werkzeug fails instead of ignoring them.

    RFC 9110, 13.1.3 and 13.1.5: a date that is not valid is ignored.
    """
    for name in DATE_HEADERS:
        try:
            parse_date(request.environ.get(name))
        except OverflowError:
            del request.environ[name]


def _read_to_the_end(response: Response) -> Response:
    """Read the rest of a body that is refused: else its client, still sending, misses the answer.

    Not of a body beyond the limit of all bodies: its connection is closed.
    """
    left = current_app.config["MAX_CONTENT_LENGTH"]
    if response.status_code < HTTPStatus.BAD_REQUEST or (request.content_length or 0) > left:
        return response
    if request.environ.get("wsgi.input_terminated"):
        body = request.environ["wsgi.input"]
        with suppress(Exception):  # the connection is lost, or the rest is malformed
            while left > 0 and (data := body.read(min(CHUNK_BYTES, left))):
                left -= len(data)
    return response


def _add_default_headers(response: Response) -> Response:
    for name, value in DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
