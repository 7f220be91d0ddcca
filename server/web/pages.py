"""The search page and the page of one image. Both work without JavaScript."""

from dataclasses import replace
from http import HTTPStatus

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from indexer.errors import InvalidQuery, LookalikeError
from indexer.search import (
    Query,
    Searcher,
    Selection,
    decoded,
    file_of,
    name_text,
    thumbnail,
)
from server.admission.capacity import capacity, run_search
from server.api import search_answers
from server.api.bodies import local_url, uploaded_image
from server.current_index import current_index
from server.errors import (
    answer_http_error,
    answer_unexpected_error,
    is_expected,
    public_error,
    public_text,
    set_retry_after,
    status_of,
    wants_html,
)
from server.web import around, facets, layout, reports
from server.web.metadata import described
from server.web.page_state import PageState, base64_text

blueprint = Blueprint("pages", __name__)

DOCS_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""As of the other pages, except for style attributes: Swagger UI's script sets them."""

SAMPLE_SIZE = 24
PREVIEW_SIDE = 320
RENDITION_SIDE = 2048
NEIGHBOUR_COUNT = 12
MAX_COPIES = 24
"""How many near-duplicates of an image its page lists."""
MAX_SUGGESTIONS = 50


@blueprint.get("/")
def start() -> AnyResponse | str:
    """Show the results for the URL's state, or some images to start from."""
    searcher = current_index().searcher()
    typed = facets.typed(searcher, PageState.parse(request.args, {}), request.args)
    if facets.ADD in request.args and not typed.message:
        return redirect(local_url(typed.state.url()))
    if typed.state.is_empty:
        return _start_page(searcher, typed)
    if "drop" in request.args:
        return redirect(local_url(typed.state.url()))
    return _answer_page(searcher, typed)


@blueprint.post("/")
def search() -> str:
    """Show the results for an uploaded image, which is not stored."""
    searcher = current_index().searcher()
    typed = facets.typed(searcher, read_form(), request.form)
    if typed.state.is_empty:
        raise InvalidQuery("No image was chosen.", "Choose a file, then search.")
    return _answer_page(searcher, typed)


@blueprint.post("/rendition")
def rendition() -> Response:
    """Return an uploaded image as a JPEG, for browsers that do not show its format."""
    data = uploaded_image().get("image")
    if not data:
        raise InvalidQuery("No image was chosen.", "Choose a file, then search a region of it.")
    max_pixels = current_index().config.server.max_pixels
    with capacity().long_searches.hold(), decoded(data, max_pixels=max_pixels) as image:
        return Response(thumbnail(image, side=RENDITION_SIDE), mimetype="image/jpeg")


@blueprint.get("/random")
def random_image() -> AnyResponse:
    """Redirect to the results for a random image."""
    return redirect(local_url(f"/?image_id={current_index().searcher().collection.random_id()}"))


@blueprint.get("/images/<int:image_id>")
def image(image_id: int) -> str:
    """Show one image: the original, its metadata, its neighbours, its distance to the query.

    A box is shown in its picture, with the other boxes there.
    """
    searcher = current_index().searcher()
    row = searcher.collection.image(image_id)
    folder = file_of(row).rpartition("/")[0]
    state = PageState.parse(request.args, {})
    neighbours = run_search(
        searcher,
        Query(image_id=image_id),
        Selection(k=1 + MAX_COPIES + NEIGHBOUR_COUNT, filter=state.filter),
    )
    copies, others = layout.copies_and_others(
        neighbours.hits, image_id, searcher.collection.scale.near
    )
    vector, distance, place = neighbours.vector, None, None
    if not state.is_empty:
        answer = run_search(searcher, state.query(), state.selection())
        vector, place = answer.vector, around.place(searcher, state, answer, image_id)
        distance = searcher.collection.distance(vector, image_id)
    distribution = searcher.collection.distribution(vector)
    return render(
        "image.html",
        searcher,
        image=row,
        boxes=layout.on_top(searcher.collection.boxes_beside(row)),
        metadata=described(searcher, row.metadata),
        state=state,
        folder=facets.choice("folder", folder) if folder else None,
        file_name=file_of(row).rpartition("/")[2],
        copies=copies[:MAX_COPIES],
        has_more_copies=len(copies) > MAX_COPIES,
        neighbours=others[:NEIGHBOUR_COUNT],
        place=place,
        distance=distance,
        plot=layout.plot(distribution, distance),
        named_in=reports.naming(image_id),
    )


@blueprint.get("/docs")
def docs() -> Response:
    """Show the description of the API."""
    response = Response(render("openapi.html", _searcher_if_any(), state=PageState()))
    response.headers["Content-Security-Policy"] = DOCS_SECURITY_POLICY
    return response


def read_form() -> PageState:
    """Return the state in the request's form, with an uploaded file and its name."""
    fields: MultiDict[str, str] = request.form.copy()
    if "image" in request.files:
        fields["name"] = request.files["image"].filename or ""
    return PageState.parse(fields, uploaded_image())


@blueprint.errorhandler(LookalikeError)
def error_page(error: LookalikeError) -> Response:
    """Show the search page with an error in place of results."""
    if not is_expected(error):
        return answer_unexpected_error(error)
    shown = public_error(error)
    page = render(
        "search.html",
        _searcher_if_any(),
        message=shown["message"],
        hint=error.hint and shown["hint"],
        state=_stated(),
        text=request.values.get("text"),
    )
    response = Response(page, status_of(error), mimetype="text/html")
    return set_retry_after(response, error.code)


@blueprint.app_errorhandler(HTTPStatus.NOT_FOUND)
def no_such_page(error: NotFound) -> Response:
    """Show a page that offers a search; answer clients of the API in JSON."""
    if not wants_html():
        return answer_http_error(error)
    page = render(
        "error.html",
        _searcher_if_any(),
        state=PageState(),
        message="There is no such page.",
        hint="The address may be misspelt, or the page may have been removed.",
    )
    return Response(page, HTTPStatus.NOT_FOUND, mimetype="text/html")


def _searcher_if_any() -> Searcher | None:
    """Return the searcher, None if there is no index that can be opened."""
    try:
        return current_index().searcher()
    except LookalikeError:
        return None


def render(template: str, searcher: Searcher | None, *, state: PageState, **values: object) -> str:
    """Render a page with the values that all pages need."""
    config = current_index().config
    return render_template(
        template,
        state=state,
        nothing=PageState(),
        fields=_field_names(searcher) if searcher else [],
        info=searcher.info if searcher else None,
        limits=config.search,
        max_upload_bytes=config.server.max_upload_bytes,
        file_url=search_answers.file_url,
        picture_url=layout.picture_url,
        thumbnail_url=search_answers.thumbnail_url,
        aspect=layout.aspect_class,
        rectangle=layout.rectangle,
        boxes_on=layout.boxes_on,
        nearness=layout.nearness,
        alikeness=layout.alikeness,
        scale=searcher.collection.scale if searcher else None,
        things="boxes" if searcher and searcher.collection.has_boxes else "images",
        similarity=layout.similarity,
        **values,
    )


def _export_counts(searcher: Searcher, shown: int) -> list[int]:
    """Return how many results can be exported: those shown, a hundred, or as many as may be."""
    most = min(current_index().config.search.max_k, searcher.info.counts.indexed)
    return sorted({min(count, most) for count in (shown, 100, most)})


def _field_names(searcher: Searcher) -> list[str]:
    """Return some names of fields that a filter can begin with, as suggestions."""
    names = dict.fromkeys(field.name for field in searcher.collection.fields)
    return [name_text(name) for name in names if "." not in name][:MAX_SUGGESTIONS]


def _stated() -> PageState:
    """Return the state in the URL of a page that failed, whose filter may be the reason."""
    try:
        return PageState.parse(request.args, {})
    except InvalidQuery:
        return PageState()


def _start_page(searcher: Searcher, typed: facets.Typed) -> str:
    """Show images to start from: a sample of all, or the first that pass the filter."""
    state = typed.state
    found = facets.listed(searcher, state, k=SAMPLE_SIZE)
    return render(
        "search.html",
        searcher,
        state=state,
        typed=typed,
        facets=facets.lists(searcher, state, found),
        passing=found.total if found and state.filter else None,
        sample=found.images if found else searcher.collection.sample(SAMPLE_SIZE),
        has_texts=searcher.collection.has_texts,
        unready=public_text(error) if (error := current_index().readiness_error()) else None,
    )


def _answer_page(searcher: Searcher, typed: facets.Typed) -> str:
    state = typed.state
    names = facets.wanted(searcher, state) if state.page == 1 else []
    selection = replace(state.selection(), facets=names)
    answer = run_search(searcher, state.query(), selection, preview_side=PREVIEW_SIDE)
    examples = [searcher.collection.image(i) for i in (*state.positives, *state.negatives)]
    first = None if state.upload or state.text else examples.pop(0)
    hits = layout.without_own(answer.hits, state.positives)
    distribution = searcher.collection.distribution(answer.vector)
    return render(
        "search.html",
        searcher,
        answer=answer,
        hits=hits,
        slider=layout.slider(
            distribution,
            hits if answer.page == 1 else [],
            state.threshold,
            searcher.collection.scale,
        ),
        state=state.with_answer(answer),
        typed=typed,
        facets=facets.lists(searcher, state, answer),
        first=first,
        combined=examples,
        export_counts=_export_counts(searcher, answer.k),
        subject=first.key if first else state.upload.name if state.upload else state.text,
        preview=base64_text(answer.preview) if answer.preview else state.preview,
    )
