"""The application factory."""

from io import BytesIO
from typing import IO

from flask import Request
from flask_openapi import Info, OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix

from indexer import __version__
from indexer.config import Config
from server import (
    admission,
    api,
    batch,
    codes,
    collection,
    docs,
    errors,
    exports,
    health,
    logs,
    metrics,
    pages,
    security,
)
from server.capacity import FORM_OVERHEAD_BYTES, max_request_bytes
from server.index_holder import IndexHolder
from server.links import here
from server.thumbnails import ThumbnailCache
from server.url_queries import Fetcher


class InMemoryRequest(Request):
    """A request whose uploads stay in memory; Werkzeug would write larger ones to disk."""

    max_form_memory_size = FORM_OVERHEAD_BYTES
    max_form_parts = 160

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return BytesIO()


class Application(OpenAPI):
    """Flask with OpenAPI and uploads kept in memory."""

    request_class = InMemoryRequest

    def generate_spec_json(self) -> None:
        """Make the OpenAPI document, and complete what the library makes."""
        super().generate_spec_json()  # type: ignore[no-untyped-call]  # it has no types
        docs.complete(self.spec_json)


def create_app(config: Config) -> Application:
    """Make the web application for one store.

    Nothing is opened yet: a server without an index starts, says what to run, and answers as soon
    as there is one.
    """
    app = Application(
        "server",
        info=Info(title="Lookalike", version=__version__, description=docs.DESCRIPTION),
        security_schemes=docs.SECURITY_SCHEMES,
        doc_ui=False,
        validation_error_callback=errors.raise_invalid_request,
        validation_error_model=codes.Error,
    )
    app.openapi_version = "3.1.0"
    app.json.sort_keys = False  # type: ignore[attr-defined]  # rank before distance, as documented
    app.config["MAX_CONTENT_LENGTH"] = max_request_bytes(config.server)
    app.extensions["lookalike"] = IndexHolder(config)
    app.extensions["fetcher"] = (
        Fetcher(config.server.max_upload_bytes) if config.server.allow_url_queries else None
    )
    app.extensions["thumbnails"] = ThumbnailCache(config.server.thumbnail_cache_bytes)
    if config.server.proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=config.server.proxies, x_proto=0, x_prefix=1
        )
    app.jinja_env.globals["here"] = here
    errors.register(app)
    logs.register(app)
    metrics.register(app)
    security.register(app, config.server)
    admission.register(app, config.server)
    app.register_api(health.blueprint)
    app.register_api(metrics.blueprint)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(collection.blueprint)
    app.register_blueprint(exports.blueprint)
    app.register_api(api.blueprint)
    app.register_api(batch.blueprint)
    docs.register(app)
    return app
