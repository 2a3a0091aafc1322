"""`ConvexStackingRegressor` and `ConvexStackingClassifier`."""

from typing import Any, ClassVar

from numpy.typing import ArrayLike
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.utils import assert_all_finite

from convexnn._typing import FloatArray
from convexnn.ensembles.bases import interrupts_raised
from convexnn.ensembles.combination import ConvexCombinationClassifier, ConvexCombinationRegressor
from convexnn_solvers import NonnegativeResult

__all__ = ["ConvexStackingClassifier", "ConvexStackingRegressor"]


class _ConvexStacking:
    """The parts of scikit-learn's stacking that the two classes below fix; before it in the bases."""

    combination: ClassVar[Any]
    passthrough: ClassVar[bool] = False

    # Set by `_set_fitted`.
    final_estimator_: Any
    weights_: FloatArray
    objective_: float
    uniform_objective_: float
    result_: NonnegativeResult

    def __init__(
        self,
        estimators: list[tuple[str, Any]],
        *,
        cv: Any = None,
        ridge: float = 0.0,
        sum_to_one: bool = False,
        solver: str = "auto",
        tol: float = 1e-8,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.cv = cv
        self.ridge = ridge
        self.sum_to_one = sum_to_one
        self.solver = solver
        self.tol = tol
        self.n_jobs = n_jobs
        self.verbose = verbose

    @property
    def final_estimator(self) -> Any:
        """The unfitted combination that these parameters ask for."""
        return self.combination(
            ridge=self.ridge, sum_to_one=self.sum_to_one, solver=self.solver, tol=self.tol
        )

    def _set_fitted(self) -> None:
        """Copy what the combination has found."""
        for name in ("weights_", "objective_", "uniform_objective_", "result_"):
            setattr(self, name, getattr(self.final_estimator_, name))


class ConvexStackingRegressor(_ConvexStacking, StackingRegressor):
    """Stacked regressors with non-negative weights from a convex program.

    A `sklearn.ensemble.StackingRegressor` whose final estimator minimises, with the cross-validated
    predictions ``f_j``::

        sum_i s_i |sum_j w_j f_j(x_i) - y_i|^2 + ridge |w|^2    over w >= 0 [and sum_j w_j = 1]

    Parameters
    ----------
    estimators : list of (str, estimator)
        Regressors with their names; "drop" in place of one leaves it out.
    cv : int, cross-validation generator, iterable or "prefit", default=None
        How the predictions are made that the weights are chosen on, as in scikit-learn: None is five folds.
        "prefit": the estimators are fitted already, and all samples choose the weights; give samples that the
        estimators have not seen.
    ridge : float, default=0.0
        Penalty of ``|w|^2``, ``>= 0``. As the sum over samples is no mean, scale it with their number.
    sum_to_one : bool, default=False
        Whether the weights shall sum to one.
    solver : {"auto", "nnls"}, default="auto"
        Solver of the program, see `convexnn_solvers.solve_nonnegative`.
    tol : float, default=1e-8
        Wanted optimality residual of the weights.
    n_jobs : int, default=None
        Number of estimators fitted at the same time.
    verbose : int, default=0
        Passed on to the cross-validation.

    Attributes
    ----------
    weights_ : ndarray of shape (n_estimators,)
        Non-negative, one for each estimator that is not dropped.
    objective_, uniform_objective_ : float
        The minimum, and the value at equal weights that sum to one.
    result_ : NonnegativeResult
        The solver's answer, with its optimality residuals.
    final_estimator_ : ConvexCombinationRegressor
    estimators_, named_estimators_, stack_method_, n_features_in_, feature_names_in_
        As in `sklearn.ensemble.StackingRegressor`.

    References
    ----------
    Breiman, "Stacked regressions", Machine Learning 24 (1996), section 3: non-negative weights.

    Examples
    --------
    >>> from convexnn.ensembles import ConvexStackingRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ConvexStackingRegressor([("line", LinearRegression()), ("near", KNeighborsRegressor())])
    >>> model.fit(X, y).weights_.round(1)
    array([0.8, 0.2])
    """

    combination: ClassVar[Any] = ConvexCombinationRegressor
    stack_method: ClassVar[str] = "predict"

    def fit(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> "ConvexStackingRegressor":
        """Fit the estimators and choose their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        **fit_params
            As in scikit-learn: ``sample_weight``, or more with its metadata routing.

        Returns
        -------
        ConvexStackingRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning.
        KeyboardInterrupt
            On Ctrl-C, also where an estimator would end its own fit by it.

        Warns
        -----
        ConvergenceWarning
            If the optimality residual of the weights is above `tol`.
        """
        with interrupts_raised():
            super().fit(X, y, **fit_params)
        self._set_fitted()
        return self


class ConvexStackingClassifier(_ConvexStacking, StackingClassifier):
    """Stacked classifiers with one non-negative weight each from a convex program.

    A `sklearn.ensemble.StackingClassifier` whose final estimator minimises, with the cross-validated class
    probabilities ``p_j``::

        sum_i s_i |sum_j w_j p_j(x_i) - e_i|^2 + ridge |w|^2    over w >= 0 [and sum_j w_j = 1]

    where ``e_i`` is the one-hot row of the label. Predicted probabilities are divided by their sum.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Classifiers with `predict_proba`, and their names; "drop" in place of one leaves it out.
    cv, ridge, sum_to_one, solver, tol, n_jobs, verbose
        As in `ConvexStackingRegressor`; folds are stratified.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    weights_ : ndarray of shape (n_estimators,)
        Non-negative, one for each estimator that is not dropped, over all classes.
    objective_, uniform_objective_, result_
        As in `ConvexStackingRegressor`.
    final_estimator_ : ConvexCombinationClassifier
    estimators_, named_estimators_, stack_method_, n_features_in_, feature_names_in_
        As in `sklearn.ensemble.StackingClassifier`.

    References
    ----------
    Breiman, "Stacked regressions", Machine Learning 24 (1996), section 3: non-negative weights. Ting and
    Witten, "Issues in stacked generalization", JAIR 10 (1999): class probabilities.

    Examples
    --------
    >>> from convexnn.ensembles import ConvexStackingClassifier
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> pair = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(random_state=0))]
    >>> model = ConvexStackingClassifier(pair).fit(X, y)
    >>> model.objective_ <= model.uniform_objective_
    True
    """

    combination: ClassVar[Any] = ConvexCombinationClassifier
    stack_method: ClassVar[str] = "predict_proba"

    def fit(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> "ConvexStackingClassifier":
        """Fit the estimators and choose their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        **fit_params
            As in scikit-learn: ``sample_weight``, or more with its metadata routing.

        Returns
        -------
        ConvexStackingClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning, an estimator without `predict_proba` among them.
        KeyboardInterrupt
            On Ctrl-C, also where an estimator would end its own fit by it.

        Warns
        -----
        ConvergenceWarning
            If the optimality residual of the weights is above `tol`.
        """
        assert_all_finite(y, input_name="y")
        with interrupts_raised():
            super().fit(X, y, **fit_params)
        self._set_fitted()
        return self
