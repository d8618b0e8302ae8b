"""FLAML under bench_search.py: ``run_flaml.py train|predict JOB.json``, in FLAML's own environment."""

import pickle
from pathlib import Path

import rows


def train(job: rows.Job) -> None:
    from flaml import AutoML

    frame = rows.read_train(job)
    model = AutoML()
    model.fit(
        frame.drop(columns=job["target"]),
        frame[job["target"]],
        task=job["task"],
        metric=job["metric"],
        time_budget=job["seconds"],
        n_jobs=job["cores"],
        seed=job["seed"],
        **job["settings"],
    )
    if model.model is None:
        raise SystemExit("FLAML found no model")
    Path(job["model"]).write_bytes(pickle.dumps((model, rows.kinds_of(frame))))


def predict(job: rows.Job) -> dict[str, object]:
    model, kinds = pickle.loads(Path(job["model"]).read_bytes())
    frame = rows.read_test(job, kinds)
    if job["task"] == "regression":
        rows.write_answers(job, model.predict(frame))
    else:
        rows.write_answers(job, model.predict_proba(frame), model.classes_)
    best = float(1 - model.best_loss if job["metric"] == "roc_auc" else model.best_loss)
    stacked = bool(job["settings"].get("ensemble"))  # what FLAML tells is its best single model's, not the stack's
    told = {"best_trial": best} if stacked else {"believed": best, "best_trial": best}
    return {**told, "model": f"{type(model.model).__name__}, best single {model.best_estimator}"}


if __name__ == "__main__":
    rows.main(train, predict)
