"""The chain as Dagster sees it: one asset a step, over the same functions as the command line.

Serves the workload that `FALAJ_WORKLOAD` names:

    dagster api grpc -m workloads.delivery.definitions
"""

# mypy: disable-error-code="untyped-decorator"
# Dagster reads the annotations, so they stay what they are: no `from __future__` here
import os

import dagster as dg

from workloads.delivery import evaluate, fingerprint, gate, ingest, register, train, validate
from workloads.delivery.connection import Connection, connect
from workloads.delivery.errors import DeliveryError
from workloads.delivery.pipeline import exclusive
from workloads.delivery.spec import Workload, load

NAME = os.environ.get("FALAJ_WORKLOAD", "")
GROUP = NAME.replace("-", "_") or "workload"


def _reach() -> tuple[Connection, Workload]:
    workload = load(NAME)
    return connect(NAME, os.environ.get("FALAJ_ENVIRONMENT", "local")), workload


@dg.asset(group_name=GROUP, kinds={"delta"})
def raw(context: dg.AssetExecutionContext) -> ingest.Ingested:
    """The source's rows as a version of the Delta table `raw`."""
    connection, workload = _reach()
    with exclusive(connection):
        ingested = ingest.ingest(connection, workload)
    context.add_output_metadata(
        {"version": ingested.version, "rows": ingested.rows, "source": ingested.source}
    )
    return ingested


@dg.asset(group_name=GROUP, kinds={"pandera"})
def validated(context: dg.AssetExecutionContext, raw: ingest.Ingested) -> ingest.Ingested:
    """The same version, once every row fits the workload's schema."""
    connection, workload = _reach()
    with exclusive(connection):
        report = validate.validate(connection, workload, raw.version)
    context.add_output_metadata({"rows": report.rows, "problems": len(report.problems)})
    return raw


@dg.asset(group_name=GROUP, kinds={"ray", "mlflow"})
def trained(context: dg.AssetExecutionContext, validated: ingest.Ingested) -> train.Trained:
    """Every trial and the best model of each family, as runs in MLflow."""
    connection, workload = _reach()
    with exclusive(connection) as run:
        made = train.train(connection, workload, _origin(workload, validated, run))
    context.add_output_metadata(
        {"run": made.parent_run, "trials": made.trials, "cv_auc": made.finalists[0].cv_auc}
    )
    return made


@dg.asset(group_name=GROUP, kinds={"fairlearn", "mlflow"})
def evaluated(
    context: dg.AssetExecutionContext, trained: train.Trained
) -> list[evaluate.Evaluation]:
    """The finalists' figures on hold-out rows, the best finalist first."""
    connection, workload = _reach()
    with exclusive(connection):
        evaluations = list(evaluate.evaluate(connection, workload.spec, trained))
    context.add_output_metadata({**evaluations[0].figures, "family": evaluations[0].family})
    return evaluations


@dg.asset(group_name=GROUP, kinds={"mlflow"})
def registered(
    context: dg.AssetExecutionContext,
    validated: ingest.Ingested,
    evaluated: list[evaluate.Evaluation],
) -> register.Registered:
    """The best finalist as a model version with the alias `candidate`."""
    connection, workload = _reach()
    with exclusive(connection) as run:
        made = register.register(connection, evaluated[0].run_id, _origin(workload, validated, run))
    context.add_output_metadata({"version": made.version, "digest": made.model_digest})
    return made


@dg.asset(group_name=GROUP, kinds={"mlflow"})
def gated(context: dg.AssetExecutionContext, registered: register.Registered) -> gate.Gated:
    """Every gate of the version; fails where one is missed, and the champion stays."""
    connection, workload = _reach()
    with exclusive(connection):
        result = gate.gate(connection, workload.spec, registered.version)
    lines = [
        f"| {row.figure} | {row.value:.4g} | {row.relation} {row.threshold:g} | "
        f"{'pass' if row.passed else 'FAIL'} |"
        for row in result.rows
    ]
    table = "\n".join(["| figure | value | must be | |", "|---|---|---|---|", *lines])
    context.log.info("gates of version %s\n%s", registered.version, table)
    if not result.passed:
        missed = ", ".join(row.figure for row in result.rows if not row.passed)
        raise dg.Failure(
            f"version {registered.version} missed {missed}",
            metadata={"gates": dg.MetadataValue.md(table)},
            allow_retries=False,
        )
    context.add_output_metadata({"gates": dg.MetadataValue.md(table)})
    return result


def _origin(workload: Workload, ingested: ingest.Ingested, run: str) -> train.Origin:
    return train.Origin(
        data_version=ingested.version,
        code_commit=fingerprint.code_commit(workload),
        fingerprint=fingerprint.fingerprint(workload, ingested.source_sha256),
        run=run,
    )


def _definitions() -> dg.Definitions:
    if not NAME:
        raise DeliveryError("FALAJ_WORKLOAD is not set: it names the workload to serve")
    load(NAME)
    return dg.Definitions(
        # below the workload's name, since every workload has the same steps
        assets=dg.load_assets_from_current_module(key_prefix=GROUP),
        jobs=[
            dg.define_asset_job(
                "deliver",
                selection="*",
                description=f"From the source of {NAME} to a version that has passed its gates",
                # the steps share one lock and slow imports: one process, one after the other
                executor_def=dg.in_process_executor,
            )
        ],
    )


defs = _definitions()
