"""Who is told of an alert: the `spec` of an AlertmanagerConfig. Pure data.

Critical alerts open an incident and are mailed, others are mailed; `DeadMansSwitch` goes to whoever
waits for it. Secrets are named and never here: the Secret `SECRET` holds them, from the
environment's own store.
"""

from __future__ import annotations

from typing import Any

from components.kubernetes.monitoring_settings import EmailSettings, MonitoringSettings

SECRET = "falaj-alert-routes"  # noqa: S105 a name
PASSWORD, INCIDENT_URL, INCIDENT_TOKEN, HEARTBEAT_URL = (
    "mail-password",
    "incident-url",
    "incident-token",
    "heartbeat-url",
)
"""Keys in `SECRET`, and names below the folder in the store."""

_NOBODY = "nobody"


def secrets(settings: MonitoringSettings) -> list[str]:
    """The keys that the Secret must have."""
    wanted = {
        PASSWORD: settings.email is not None and settings.email.user is not None,
        INCIDENT_URL: settings.incidents,
        INCIDENT_TOKEN: settings.incidents,
        HEARTBEAT_URL: settings.heartbeat,
    }
    return [key for key, asked in wanted.items() if asked]


def routes(settings: MonitoringSettings, environment: str) -> dict[str, Any]:
    """The `spec`; a receiver that nobody configured is left out, and with it its route."""
    mail = "mail" if settings.email else _NOBODY
    inside: list[dict[str, Any]] = [
        {
            "receiver": "heartbeat" if settings.heartbeat else _NOBODY,
            "matchers": [_is("alertname", "DeadMansSwitch")],
            "groupWait": "0s",
            "groupInterval": "1m",
            "repeatInterval": "1m",
        },
        {"receiver": _NOBODY, "matchers": [_is("severity", "none|info", "=~")]},
    ]
    if settings.incidents:
        inside.append(
            {
                "receiver": "incidents",
                "matchers": [_is("severity", "critical")],
                # and by mail, which is the next route
                "continue": True,
                "groupWait": "10s",
                "repeatInterval": "4h",
            }
        )
    inside.append({"receiver": mail, "matchers": [_is("severity", "critical|warning", "=~")]})
    return {
        "route": {
            "receiver": mail,
            # one message for all that is wrong with one thing
            "groupBy": ["alertname", "namespace", "workload"],
            "groupWait": "30s",
            "groupInterval": "5m",
            "repeatInterval": "12h",
            "routes": inside,
        },
        "inhibitRules": _SILENCED,
        "receivers": [
            {"name": _NOBODY},
            *([_mail(settings.email, environment)] if settings.email else []),
            *([_INCIDENTS] if settings.incidents else []),
            *([_HEARTBEAT] if settings.heartbeat else []),
        ],
    }


def _is(name: str, value: str, match: str = "=") -> dict[str, str]:
    return {"name": name, "value": value, "matchType": match}


_SILENCED: list[dict[str, Any]] = [
    # told as urgent, it is not told again as less so
    {
        "sourceMatch": [_is("severity", "critical")],
        "targetMatch": [_is("severity", "warning")],
        "equal": ["alertname", "namespace"],
    },
    {
        "sourceMatch": [_is("alertname", ".+BudgetBurnsFast", "=~")],
        "targetMatch": [_is("alertname", ".+BudgetBurnsSlowly", "=~")],
        "equal": ["slo", "namespace", "workload", "job"],
    },
    # where no server is left all else of the workload follows
    {
        "sourceMatch": [_is("alertname", "NoModelServer")],
        "targetMatch": [
            _is("alertname", "PredictionsFail|AvailabilityBudgetBurns.*|LatencyBudgetBurns.*", "=~")
        ],
        "equal": ["namespace", "workload"],
    },
]
"""What is not told while something else says it. A label that both lack counts as equal, so each
rule names alerts, or asks for the same one."""


def _secret(key: str) -> dict[str, str]:
    return {"name": SECRET, "key": key}


def _mail(email: EmailSettings, environment: str) -> dict[str, Any]:
    login: dict[str, Any] = {}
    if email.user is not None:
        login = {"authUsername": email.user, "authPassword": _secret(PASSWORD)}
    return {
        "name": "mail",
        "emailConfigs": [
            {
                "to": ", ".join(email.to),
                "from": email.sender,
                "smarthost": f"{email.relay}:{email.port}",
                "requireTLS": True,
                "tlsConfig": {"serverName": email.relay, "minVersion": "TLS12"},
                "sendResolved": True,
                "headers": [
                    {
                        "key": "Subject",
                        "value": f"[falaj {environment}] "
                        "{{ .Status }}: {{ .CommonLabels.alertname }}",
                    }
                ],
                **login,
            }
        ],
    }


_INCIDENTS: dict[str, Any] = {
    "name": "incidents",
    "webhookConfigs": [
        {
            "urlSecret": _secret(INCIDENT_URL),
            "sendResolved": True,
            "httpConfig": {
                "authorization": {"type": "Bearer", "credentials": _secret(INCIDENT_TOKEN)},
                "tlsConfig": {"minVersion": "TLS12"},
            },
        }
    ],
}
_HEARTBEAT: dict[str, Any] = {
    "name": "heartbeat",
    "webhookConfigs": [{"urlSecret": _secret(HEARTBEAT_URL), "sendResolved": False}],
}
