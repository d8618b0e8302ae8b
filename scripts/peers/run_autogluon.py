"""AutoGluon under bench_search.py: ``run_autogluon.py train|predict JOB.json``, in AutoGluon's own environment."""

import json
from pathlib import Path

import rows


def train(job: rows.Job) -> None:
    from autogluon.tabular import TabularPredictor

    frame = rows.read_train(job)
    predictor = TabularPredictor(
        label=job["target"],
        problem_type=job["task"],
        eval_metric={"rmse": "root_mean_squared_error"}.get(job["metric"], job["metric"]),
        path=job["model"],
        learner_kwargs={"random_state": job["seed"]},
    )
    predictor.fit(frame, time_limit=job["seconds"], num_cpus=job["cores"], **job["settings"])
    Path(job["model"], "kinds.json").write_text(json.dumps(rows.kinds_of(frame)))


def predict(job: rows.Job) -> dict[str, object]:
    from autogluon.tabular import TabularPredictor

    predictor = TabularPredictor.load(job["model"])
    frame = rows.read_test(job, json.loads(Path(job["model"], "kinds.json").read_text()))
    if job["task"] == "regression":
        rows.write_answers(job, predictor.predict(frame))
    else:
        chances = predictor.predict_proba(frame)
        rows.write_answers(job, chances, chances.columns)
    board = predictor.leaderboard().set_index("model")
    believed = float(board.loc[predictor.model_best, "score_val"])  # larger is better, whatever the metric
    return {
        "believed": believed if job["metric"] == "roc_auc" else -believed,
        "model": f"{predictor.model_best} of {len(board)}",
    }


if __name__ == "__main__":
    rows.main(train, predict)
