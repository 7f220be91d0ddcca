"""The search page and the page of one image. Works without JavaScript."""

from flask import Blueprint, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from indexer.errors import InvalidQuery, LookalikeError, NoPublishedIndex
from indexer.search import Query, Searcher, Selection
from server import layout, schemas
from server.admission import find
from server.errors import PUBLIC, STATUSES
from server.index_holder import index_holder
from server.question import Question, base64_text
from server.wire import uploaded_files

blueprint = Blueprint("pages", __name__)

SAMPLE_SIZE = 24
PREVIEW_SIDE = 320
NEIGHBOURS = 12


@blueprint.get("/")
def start() -> Response | tuple[str, int] | str:
    """Show the results of the address's question, or images to start from."""
    try:
        searcher = index_holder().searcher()
    except NoPublishedIndex as error:
        return refused(None, error)
    try:
        question = Question.of(request.args, {})
        if question.is_empty:
            return _start_page(searcher)
        if request.args.getlist("drop"):
            return redirect(question.address())
        return _answer_page(searcher, question)
    except LookalikeError as error:
        return refused(searcher, error)


@blueprint.post("/")
def search() -> tuple[str, int] | str:
    """Show the results of an uploaded image, which is answered and forgotten."""
    searcher = index_holder().searcher()
    try:
        question = posted()
        if question.is_empty:
            raise InvalidQuery("No image was chosen.", "Choose a file, then search.")
        return _answer_page(searcher, question)
    except LookalikeError as error:
        return refused(searcher, error)


@blueprint.get("/random")
def random_image() -> Response | tuple[str, int]:
    """Lead to the neighbours of any image."""
    searcher = index_holder().searcher()
    try:
        return redirect(f"/?image_id={searcher.random_id()}")
    except LookalikeError as error:
        return refused(searcher, error)


@blueprint.get("/images/<int:image_id>")
def image(image_id: int) -> tuple[str, int] | str:
    """Show one image: the original, what is known of it, and how it lies to the question."""
    searcher = index_holder().searcher()
    try:
        row = searcher.image(image_id)
        question = Question.of(request.args, {})
        own = Query(image_id=image_id)
        neighbours = find(searcher, own, Selection(k=NEIGHBOURS + 1))
        vector, distance = neighbours.vector, None
        if not question.is_empty:
            vector = find(searcher, question.query(), Selection(k=1)).vector
            distance = searcher.distance(vector, image_id)
        distribution = searcher.distribution(vector)
    except LookalikeError as error:
        return refused(searcher, error)
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
    return Question.of(fields, uploaded_files())


def refused(searcher: Searcher | None, error: LookalikeError) -> tuple[str, int]:
    """Render the page with the reason instead of results; unforeseen errors go on upwards."""
    if error.code not in STATUSES:
        raise error
    message, hint = PUBLIC.get(error.code, (error.message, error.hint))
    page = render("search.html", searcher, message=message, hint=hint)
    return page, STATUSES[error.code]


def render(template: str, searcher: Searcher | None, **values: object) -> str:
    """Render a page; every one names the encoder and the version, if there is one."""
    config = index_holder().config
    return render_template(
        template,
        info=searcher.info if searcher else None,
        limits=config.search,
        max_upload_bytes=config.server.max_upload_bytes,
        file_url=schemas.file_url,
        thumbnail_url=schemas.thumbnail_url,
        aspect=layout.aspect_class,
        bar=layout.distance_bar,
        **values,
    )


def _start_page(searcher: Searcher) -> str:
    return render("search.html", searcher, sample=searcher.sample(SAMPLE_SIZE))


def _answer_page(searcher: Searcher, question: Question) -> str:
    answer = find(searcher, question.query(), question.selection(), preview_side=PREVIEW_SIDE)
    examples = [searcher.image(i) for i in (*question.positives, *question.negatives)]
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
