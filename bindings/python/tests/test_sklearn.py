"""The transformer for scikit-learn."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest

import mobilebert

pytest.importorskip("sklearn", reason="SKIPPED: no scikit-learn")

from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from mobilebert.sklearn import MobileBertVectorizer

ROOT = Path(__file__).resolve().parents[3]
SENTIMENT = str(ROOT / "models" / "sentiment")

pytestmark = pytest.mark.skipif(
    not Path(SENTIMENT).is_dir(), reason="SKIPPED: the models are in a checkout only"
)

GOOD = ["a joy", "warm and funny", "well acted", "a masterpiece", "lovely", "I laughed a lot"]
BAD = ["dull", "loud and pointless", "badly acted", "a waste of time", "awful", "I left early"]

#: The checks of scikit-learn that do not feed a matrix of numbers, which is not an input here.
CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
]


@pytest.mark.parametrize("name", CHECKS)
def test_checks_of_scikit_learn(name: str) -> None:
    check = getattr(estimator_checks, name)
    check("MobileBertVectorizer", MobileBertVectorizer(SENTIMENT))


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_all_checks_that_scikit_learn_applies() -> None:
    # It has few checks for texts, so those that fit are called by name above.
    applied = estimator_checks.check_estimator(MobileBertVectorizer(SENTIMENT))
    assert applied and all(check["status"] == "passed" for check in applied)


def test_vectors() -> None:
    vectorizer = MobileBertVectorizer(SENTIMENT)
    found = vectorizer.fit_transform(GOOD)
    assert (found == mobilebert.Embedder(SENTIMENT).encode(GOOD)).all()
    assert vectorizer.get_feature_names_out()[:2].tolist() == [
        "mobilebertvectorizer0",
        "mobilebertvectorizer1",
    ]
    assert len(vectorizer.get_feature_names_out()) == 384
    assert vectorizer.transform([]).shape == (0, 384)
    # A parameter that is changed is heeded.
    lengths = numpy.linalg.norm(vectorizer.set_params(normalize=False).transform(GOOD), axis=1)
    assert (abs(lengths - 1) > 0.1).all()


def test_inputs() -> None:
    vectorizer = MobileBertVectorizer(SENTIMENT)
    expected = vectorizer.transform(GOOD)
    assert (vectorizer.transform(numpy.array(GOOD)) == expected).all()
    for wrong in ("a text", b"bytes", numpy.array([GOOD])):
        for method in (vectorizer.fit, vectorizer.transform):
            with pytest.raises(ValueError, match="expected"):
                method(wrong)
    pandas = pytest.importorskip("pandas", reason="SKIPPED: no pandas")
    assert (vectorizer.transform(pandas.Series(GOOD)) == expected).all()
    frame = pandas.DataFrame({"text": GOOD, "other": range(6)})
    assert (make_column_transformer((vectorizer, "text")).fit_transform(frame) == expected).all()
    table = MobileBertVectorizer(SENTIMENT).set_output(transform="pandas").fit_transform(pandas.Series(GOOD))
    assert (table.to_numpy() == expected).all()


def test_pickles_hold_no_weights() -> None:
    vectorizer = MobileBertVectorizer(SENTIMENT, pooling="cls", threads=1)
    expected = vectorizer.transform(GOOD)
    pickled = pickle.dumps(vectorizer)
    assert len(pickled) < 2000
    assert b"Embedder" not in pickled
    copy = pickle.loads(pickled)
    assert copy.get_params() == vectorizer.get_params()
    assert (copy.transform(GOOD) == expected).all()
    assert clone(vectorizer).get_params() == vectorizer.get_params()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_search_in_two_processes() -> None:
    steps: Any = make_pipeline(MobileBertVectorizer(SENTIMENT, threads=1), LogisticRegression(max_iter=1000))
    grid = {"mobilebertvectorizer__pooling": ["mean", "cls"], "logisticregression__C": [1.0, 100.0]}
    search = GridSearchCV(steps, grid, cv=3, n_jobs=2, error_score="raise")
    search.fit(GOOD + BAD, [1] * 6 + [0] * 6)
    assert search.best_score_ > 0.7
    texts = ["a joy to watch", "two hours of nothing"]
    assert search.predict(texts).tolist() == [1, 0]
    pickled = pickle.dumps(search)
    assert len(pickled) < 100_000, "the weights of the model are not in it"
    assert pickle.loads(pickled).predict(texts).tolist() == [1, 0]
