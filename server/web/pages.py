"""The search page and the page of one image. Works without JavaScript."""

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from indexer.errors import InvalidQuery, LookalikeError
from indexer.search import Query, Searcher, Selection
from server.admission.capacity import run_search
from server.api import search_answers
from server.api.bodies import here, uploaded_image
from server.current_index import index_holder
from server.errors import is_expected, public_error, set_retry_after, status_of
from server.web import layout
from server.web.page_state import Question, base64_text

blueprint = Blueprint("pages", __name__)

SAMPLE_SIZE = 24
PREVIEW_SIDE = 320
NEIGHBOURS = 12


@blueprint.get("/")
def start() -> AnyResponse | str:
    """Show the results of the address's question, or images to start from."""
    searcher = index_holder().searcher()
    question = Question.of(request.args, {})
    if question.is_empty:
        return render("search.html", searcher, sample=searcher.collection.sample(SAMPLE_SIZE))
    if request.args.getlist("drop"):
        return redirect(here(question.address()))
    return _answer_page(searcher, question)


@blueprint.post("/")
def search() -> str:
    """Show the results of an uploaded image, which is answered and forgotten."""
    searcher = index_holder().searcher()
    question = posted()
    if question.is_empty:
        raise InvalidQuery("No image was chosen.", "Choose a file, then search.")
    return _answer_page(searcher, question)


@blueprint.get("/random")
def random_image() -> AnyResponse:
    """Lead to the neighbours of any image."""
    return redirect(here(f"/?image_id={index_holder().searcher().collection.random_id()}"))


@blueprint.get("/images/<int:image_id>")
def image(image_id: int) -> str:
    """Show one image: the original, what is known of it, and how it lies to the question."""
    searcher = index_holder().searcher()
    row = searcher.collection.image(image_id)
    question = Question.of(request.args, {})
    own = Query(image_id=image_id)
    neighbours = run_search(searcher, own, Selection(k=NEIGHBOURS + 1))
    vector, distance = neighbours.vector, None
    if not question.is_empty:
        vector = run_search(searcher, question.query(), Selection(k=1)).vector
        distance = searcher.collection.distance(vector, image_id)
    distribution = searcher.collection.distribution(vector)
    return render(
        "image.html",
        searcher,
        image=row,
        question=question,
        neighbours=[hit for hit in neighbours.hits if hit.image.id != image_id][:NEIGHBOURS],
        distance=distance,
        share_nearer=None if distance is None else distribution.share_nearer(distance),
        plot=layout.plot(distribution, distance),
    )


def posted() -> Question:
    """Return the question of a form, with the name of an uploaded file."""
    fields: MultiDict[str, str] = request.form.copy()
    if "image" in request.files:
        fields["name"] = request.files["image"].filename or ""
    return Question.of(fields, uploaded_image())


@blueprint.errorhandler(LookalikeError)
def error_page(error: LookalikeError) -> Response:
    """Show the search page with the reason instead of results."""
    if not is_expected(error):
        raise error
    try:
        searcher = index_holder().searcher()
    except LookalikeError:
        searcher = None
    shown = public_error(error)
    page = render(
        "search.html", searcher, message=shown["message"], hint=error.hint and shown["hint"]
    )
    response = Response(page, status_of(error), mimetype="text/html")
    return set_retry_after(response, error.code)


def render(template: str, searcher: Searcher | None, **values: object) -> str:
    """Render a page; every one names the encoder and the version, if there is one."""
    config = index_holder().config
    return render_template(
        template,
        info=searcher.info if searcher else None,
        limits=config.search,
        max_upload_bytes=config.server.max_upload_bytes,
        file_url=search_answers.file_url,
        thumbnail_url=search_answers.thumbnail_url,
        aspect=layout.aspect_class,
        bar=layout.distance_bar,
        **values,
    )


def _answer_page(searcher: Searcher, question: Question) -> str:
    answer = run_search(searcher, question.query(), question.selection(), preview_side=PREVIEW_SIDE)
    examples = [searcher.collection.image(i) for i in (*question.positives, *question.negatives)]
    first = None if question.upload else examples.pop(0)
    return render(
        "search.html",
        searcher,
        answer=answer,
        question=question.answered(answer),
        first=first,
        combined=examples,
        subject=first.key if first else question.upload and question.upload.name,
        preview=base64_text(answer.preview) if answer.preview else question.preview,
    )
