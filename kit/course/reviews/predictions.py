"""Questions about the reviews, and their measurements. Imports no framework."""

from kit.course.predictions import Question


def measure_positive() -> float:
    """Positive reviews among the first 4,000 of the file."""
    from kit.data.reviews import load_movie_reviews

    return float(sum(label for _, label in load_movie_reviews()[:4000]))


def measure_markup() -> float:
    """Reviews with a line break in HTML."""
    from kit.data.reviews import load_movie_reviews

    return float(sum("<br />" in text for text, _ in load_movie_reviews()))


QUESTIONS = (
    Question(
        "positive",
        "The tutorial uses 2,000 batches of 2, so 4,000 reviews. You take the first 4,000 of the file of 25,000. How "
        "many of them are positive?",
        measure_positive,
        "The file is sorted by label. Without a shuffle over the whole file a model sees one kind of review only.",
        within=0.02,
        mistakes={"2,000": "Half of the whole file is positive, and so would be a sample of it."},
    ),
    Question(
        "markup",
        "How many of the 25,000 reviews contain `<br />`?",
        measure_markup,
        "More than half: a model that is trained on them writes `<br />` as well.",
        "reviews",
        within=0.1,
    ),
)
