"""`falaj evidence`: what the rules said of a stack, for an auditor, signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from policies.cli import InputError, configuration_of, read_json

app = typer.Typer(no_args_is_help=True, help="Write and verify what an auditor is shown.")


@app.command()
def key(file: Annotated[Path, typer.Argument(help="Where the private key is to lie.")]) -> None:
    """Make a key that evidence is signed with; its public half lies beside it.

    Example: falaj evidence key ~/evidence.key
    """
    from policies.evidence.signing_keys import new_key

    new_key(file)
    typer.echo(f"{file}: keep it; {file.with_suffix('.pub')}: give it to whoever verifies")


@app.command("public-key")
def public(
    key: Annotated[str, typer.Argument(metavar="FILE|awskms:///ARN", help="A private key.")],
) -> None:
    """Print the public half of a key, for whoever verifies.

    Example: falaj evidence public-key awskms:///arn:aws:kms:me-central-1:123456789012:alias/evidence
    """
    from policies.evidence.signing_keys import signing_key

    typer.echo(signing_key(key).public().decode(), nl=False)


@app.command()
def create(
    *,
    state: Annotated[Path, typer.Option(help="A file made by `pulumi stack export`.")],
    environment: Annotated[str, typer.Option("--environment", "-e", help="Whose rules.")],
    jurisdiction: Annotated[
        str,
        typer.Option(help="mainland-bank, difc, adgm, health, government or other."),
    ],
    key: Annotated[
        str,
        typer.Option(
            metavar="FILE|awskms:///ARN",
            help="The private key: made by `falaj evidence key`, or an elliptic one of AWS KMS.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    config: Annotated[
        Path | None, typer.Option(help="JSON: rule → level; instead of the packs' own file.")
    ] = None,
    since: Annotated[
        Path | None, typer.Option(help="The folder of an earlier one, to compare with.")
    ] = None,
) -> None:
    """Write the auditor pack of an exported state; what it finds does not make it fail.

    Example: falaj evidence create --state state.json -e prod --jurisdiction mainland-bank
    --key ~/evidence.key --out evidence/2026-11

    In a pipeline, with a key that nobody has:
    --key awskms:///arn:aws:kms:me-central-1:123456789012:alias/evidence
    """
    from policies.common.configuration import check, configured
    from policies.common.frameworks import JURISDICTIONS
    from policies.common.resources import of_export
    from policies.common.stack import Stack
    from policies.evidence import report, seal
    from policies.evidence.record import record
    from policies.evidence.signing_keys import signing_key
    from policies.packs import RULES

    if jurisdiction not in JURISDICTIONS:
        raise InputError(f"--jurisdiction: is {jurisdiction}; one of {', '.join(JURISDICTIONS)}")
    signer = signing_key(key)
    file = config or configuration_of(environment)
    said, text = read_json(file), read_json(state)
    inputs, outputs = map(Stack, of_export(text))
    results = check(configured(RULES, json.loads(said)), inputs, outputs)
    made = record(
        results,
        inputs,
        environment=environment,
        jurisdiction=jurisdiction,
        read={"state": text.encode(), "configuration": said.encode()},
        before=json.loads(read_json(since / seal.EVIDENCE)) if since is not None else None,
    )
    seal.write(out, made, report.page(made), signer)
    told = ", ".join(f"{count} {outcome}" for outcome, count in made["summary"].items() if count)
    typer.echo(f"{out}: {told}")
    typer.echo(f"read {out / seal.REPORT}; verify with falaj evidence verify {out} --key FILE.pub")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder made by `falaj evidence create`.")],
    key: Annotated[Path, typer.Option(help="The public key of who made it.")],
) -> None:
    """Check that nothing was altered, added or taken away since it was signed.

    The public key inside the folder proves nothing: get it from whoever made the pack.

    Example: falaj evidence verify evidence/2026-11 --key evidence.pub
    """
    from policies.evidence.seal import verify as checked

    evidence = checked(folder, key)
    typer.echo(f"{folder}: as signed; {evidence['stack']}, made at {evidence['made_at']}")
