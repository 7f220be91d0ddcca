"""The search page and the page of one image. Both work without JavaScript."""

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from indexer.errors import InvalidQuery, LookalikeError
from indexer.search import Query, Searcher, Selection
from server.admission.capacity import run_search
from server.api import search_answers
from server.api.bodies import local_url, uploaded_image
from server.current_index import current_index
from server.errors import (
    answer_unexpected_error,
    is_expected,
    public_error,
    set_retry_after,
    status_of,
)
from server.web import layout
from server.web.page_state import PageState, base64_text

blueprint = Blueprint("pages", __name__)

SAMPLE_SIZE = 24
PREVIEW_SIDE = 320
NEIGHBOUR_COUNT = 12


@blueprint.get("/")
def start() -> AnyResponse | str:
    """Show the results for the URL's state, or a sample of images to start from."""
    searcher = current_index().searcher()
    state = PageState.parse(request.args, {})
    if state.is_empty:
        return render("search.html", searcher, sample=searcher.collection.sample(SAMPLE_SIZE))
    if request.args.getlist("drop"):
        return redirect(local_url(state.url()))
    return _answer_page(searcher, state)


@blueprint.post("/")
def search() -> str:
    """Show the results for an uploaded image, which is not stored."""
    searcher = current_index().searcher()
    state = read_form()
    if state.is_empty:
        raise InvalidQuery("No image was chosen.", "Choose a file, then search.")
    return _answer_page(searcher, state)


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
    state = PageState.parse(request.args, {})
    own = Query(image_id=image_id)
    neighbours = run_search(searcher, own, Selection(k=NEIGHBOUR_COUNT + 1))
    vector, distance = neighbours.vector, None
    if not state.is_empty:
        vector = run_search(searcher, state.query(), Selection(k=1)).vector
        distance = searcher.collection.distance(vector, image_id)
    distribution = searcher.collection.distribution(vector)
    return render(
        "image.html",
        searcher,
        image=row,
        boxes=layout.on_top(searcher.collection.boxes_beside(row)),
        state=state,
        neighbours=[hit for hit in neighbours.hits if hit.image.id != image_id][:NEIGHBOUR_COUNT],
        distance=distance,
        share_nearer=None if distance is None else distribution.share_nearer(distance),
        plot=layout.plot(distribution, distance),
    )


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
    try:
        searcher = current_index().searcher()
    except LookalikeError:
        searcher = None
    shown = public_error(error)
    page = render(
        "search.html", searcher, message=shown["message"], hint=error.hint and shown["hint"]
    )
    response = Response(page, status_of(error), mimetype="text/html")
    return set_retry_after(response, error.code)


def render(template: str, searcher: Searcher | None, **values: object) -> str:
    """Render a page with the values that all pages need."""
    config = current_index().config
    return render_template(
        template,
        info=searcher.info if searcher else None,
        limits=config.search,
        max_upload_bytes=config.server.max_upload_bytes,
        file_url=search_answers.file_url,
        thumbnail_url=search_answers.thumbnail_url,
        aspect=layout.aspect_class,
        rectangle=layout.rectangle,
        boxes_on=layout.boxes_on,
        things="boxes" if searcher and searcher.collection.has_boxes else "images",
        bar=layout.distance_bar,
        **values,
    )


def _answer_page(searcher: Searcher, state: PageState) -> str:
    answer = run_search(searcher, state.query(), state.selection(), preview_side=PREVIEW_SIDE)
    examples = [searcher.collection.image(i) for i in (*state.positives, *state.negatives)]
    first = None if state.upload else examples.pop(0)
    return render(
        "search.html",
        searcher,
        answer=answer,
        state=state.with_answer(answer),
        first=first,
        combined=examples,
        subject=first.key if first else state.upload and state.upload.name,
        preview=base64_text(answer.preview) if answer.preview else state.preview,
    )
