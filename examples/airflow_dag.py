"""A nightly run by Airflow: ingest, measure, classify; each is a command that goes on where it was when tried again.

The workers need `pip install 'rubrika[ray]'`, the folders below, and in their environment QDRANT_URL, QDRANT_API_KEY
and RAY_ADDRESS (a cluster of Ray; without it each command begins Ray on its own machine).
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

INDEX, DATA = "/data/index", "/data/{{ ds }}"

with DAG(
    "rubrika_nightly",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    # One changes an index at a time; a second run would be told so, and fail.
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
):
    ingest = BashOperator(
        task_id="ingest",
        bash_command=f"rubrika ingest {DATA}/catalogue --index {INDEX} --ray --rejects {DATA}/rejects --json",
    )
    measure = BashOperator(
        task_id="measure",
        bash_command=f"rubrika evaluate {DATA}/gold.parquet --index {INDEX} --fail-below weighted_f1=0.85 --json",
    )
    classify = BashOperator(
        task_id="classify",
        bash_command=f"rubrika classify {DATA}/new --index {INDEX} --ray -o {DATA}/predictions --json",
    )
    ingest >> measure >> classify
