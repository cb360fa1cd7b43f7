"""Metrics against values computed by hand."""

import subprocess
import sys

import numpy as np
import pytest
from ranvier import metrics

# Class 0: 3 samples, 2 found. Class 1: 2 samples, both found. Class 2: 1 sample, taken for class 1.
TRUE = [0, 0, 0, 1, 1, 2]
PRED = [0, 0, 1, 1, 1, 1]
PRECISION = [1, 2 / 4, 0]
RECALL = [2 / 3, 1, 0]
F1 = [4 / 5, 2 / 3, 0]


def one_hot(labels, classes=3):
    return np.eye(classes)[labels]


def scores(labels):
    return one_hot(labels).astype(np.float32) * 5 - 3


FORMS = pytest.mark.parametrize(
    ("true", "pred"),
    [(TRUE, PRED), (one_hot(TRUE), PRED), (np.array(TRUE), scores(PRED)), (one_hot(TRUE).astype(int), scores(PRED))],
)


@FORMS
def test_accuracy(true, pred):
    assert metrics.accuracy(true, pred) == pytest.approx(4 / 6)


@FORMS
def test_confusion_matrix_has_the_true_class_in_its_rows(true, pred):
    matrix = metrics.confusion_matrix(true, pred)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 0], [0, 1, 0]]
    assert matrix.dtype == np.int64


@FORMS
@pytest.mark.parametrize(
    ("metric", "each"), [(metrics.precision, PRECISION), (metrics.recall, RECALL), (metrics.f1_score, F1)]
)
def test_precision_recall_f1(true, pred, metric, each):
    np.testing.assert_allclose(metric(true, pred), each)
    assert metric(true, pred, average="macro") == pytest.approx(np.mean(each))
    assert metric(true, pred, average="weighted") == pytest.approx(np.dot(each, [3, 2, 1]) / 6)
    assert metric(true, pred, average="micro") == pytest.approx(4 / 6)


def test_classes_without_samples_have_their_place():
    assert metrics.confusion_matrix([0, 0], one_hot([0, 1], 4)).shape == (4, 4)
    assert metrics.precision([0, 0], one_hot([0, 1], 4)).tolist() == [1, 0, 0, 0]
    assert metrics.precision([0, 0], one_hot([0, 1], 4), average="macro") == 0.5  # of the two that occur
    assert metrics.confusion_matrix([0, 3], [0, 0]).shape == (4, 4)


def test_top_k_accuracy():
    y_score = [[0.1, 0.5, 0.4], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]]
    true = [2, 2, 0, 1]  # in the places 2, 3, 2 (the first of two equals) and 3 (the second)
    assert [metrics.top_k_accuracy(true, y_score, k) for k in (1, 2, 3)] == [0, 0.5, 1]
    assert metrics.top_k_accuracy(one_hot(true), y_score, 2) == 0.5
    assert metrics.top_k_accuracy([0, 1], [[0.9, 0.1], [0.9, 0.1]], 1) == 0.5  # two classes are no exception
    ties = np.zeros((3, 3))
    assert metrics.top_k_accuracy([0, 1, 2], ties, 1) == metrics.accuracy([0, 1, 2], ties) == pytest.approx(1 / 3)
    assert metrics.top_k_accuracy([1], np.array([[0, 255, 7]], np.uint8), 1) == 1


def test_a_single_column_of_scores_is_class_1_above_a_half():
    assert metrics.confusion_matrix([0, 1, 1], [[0.4], [0.6], [0.5]]).tolist() == [[1, 0], [1, 1]]
    assert metrics.accuracy([[0], [2]], [0, 2]) == 1  # a column of integers is labels


def test_r2_score():
    # Sum of squared residuals 0.25 + 0 + 1, around the mean 2: 1 + 0 + 1.
    assert metrics.r2_score([1, 2, 3], [1.5, 2, 2]) == pytest.approx(1 - 1.25 / 2)
    assert metrics.r2_score([[1.0], [2.0], [3.0]], [1.5, 2, 2]) == pytest.approx(1 - 1.25 / 2)
    assert metrics.r2_score([[1, 1], [2, 2], [3, 3]], [[1.5, 1], [2, 2], [2, 3]]) == pytest.approx(1 - 1.25 / 4)
    assert metrics.r2_score([1, 2, 3], [2, 2, 2]) == 0
    assert (metrics.r2_score([4, 4], [4, 4]), metrics.r2_score([4, 4], [4, 5])) == (1, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy([0, 1], [0]), ValueError, "y_pred: expected one prediction for each of 2 samples"),
        (lambda: metrics.accuracy([], []), ValueError, r"y_true: expected labels of shape .*got \(0,\)"),
        (lambda: metrics.accuracy([0.0, 1.0], [0, 1]), TypeError, "y_true: expected integer labels or rows"),
        (lambda: metrics.accuracy(["a"], [0]), TypeError, "y_true: expected an array of real numbers"),
        (lambda: metrics.recall([0, -1], [0, 1]), ValueError, "y_true: expected labels of at least 0, got -1"),
        (lambda: metrics.f1_score([0], [[np.nan, 1]]), ValueError, "y_pred: contains NaN"),
        (lambda: metrics.f1_score([0], [0], average="mean"), ValueError, "average: expected None, 'macro'"),
        (lambda: metrics.top_k_accuracy([0], [0]), ValueError, "y_score: expected rows of at least two scores"),
        (lambda: metrics.top_k_accuracy([0], [[0, 1]], 3), ValueError, "k: expected at most .* 2, got 3"),
        (lambda: metrics.top_k_accuracy([2], [[0, 1]], 1), ValueError, "y_true: expected labels from 0 to 1, got 2"),
        (lambda: metrics.r2_score([1, 2], [1, 2, 3]), ValueError, r"y_pred: expected shape \(2, 1\), got \(3, 1\)"),
        (lambda: metrics.r2_score([1], [1]), ValueError, "y_true: expected at least two samples, got 1"),
        (lambda: metrics.r2_score([1, np.inf], [1, 2]), ValueError, "y_true: expected finite numbers"),
    ],
)
def test_unfit_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'ranvier\[metrics\]'"):
        metrics.accuracy([0], [0])
    assert metrics.top_k_accuracy([0], [[1, 0]], 1) == 1


def test_import_loads_no_scikit_learn():
    code = "import sys, ranvier.metrics; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
