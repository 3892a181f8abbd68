"""Hands an object in to the cluster that the process runs in: a job that a schedule wants.

    python -m workloads.delivery.hand_in FILE

FILE is one object as JSON, with `generateName` in place of a name. The queue decides when it runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from workloads.delivery.api_server import client_of_pod
from workloads.delivery.errors import DeliveryError


class HandInError(DeliveryError):
    """The cluster did not take the object; the message says why."""


def hand_in(client: httpx.Client, thing: dict[str, Any]) -> str:
    """Creates `thing`; gives the name that it got. Raises `HandInError`."""
    metadata = thing["metadata"]
    plural = f"{thing['kind'].lower()}s"
    path = f"/apis/{thing['apiVersion']}/namespaces/{metadata['namespace']}/{plural}"
    what = f"{thing['kind']} {metadata['namespace']}/{metadata['generateName']}"
    try:
        answer = client.post(path, params={"fieldValidation": "Strict"}, json=thing)
    except httpx.TransportError as error:
        raise HandInError(f"{what}: the API server does not answer ({error!r})") from error
    if not answer.is_success:
        raise HandInError(f"{what} is refused: {answer.text}")
    return str(answer.json()["metadata"]["name"])


def main(file: Annotated[Path, typer.Argument(help="One object as JSON.")]) -> None:
    """Hands FILE in and says the name that it got."""
    try:
        thing = json.loads(file.read_text(encoding="utf-8"))
        with client_of_pod() as client:
            name = hand_in(client, thing)
    except (DeliveryError, OSError, ValueError, KeyError) as error:
        typer.echo(f"{file}: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"handed in: {thing['kind']} {name}")


if __name__ == "__main__":
    typer.run(main)
