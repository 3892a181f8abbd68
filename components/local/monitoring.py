"""Prometheus: what every part and every workload measures, and the rules that raise an alert.

Owns the server, its scrape configuration and the page that shows serving. Which rules there are is
said in `components/monitoring`; a workload adds a file of targets and a file of rules as drop-ins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi
import yaml

from components.local.machine import LOOPBACK, Machine, executable
from components.local.process import Health
from components.monitoring.alerts import platform_rules
from components.monitoring.rules import Group, rendered

SERVING_SCRAPE_SECONDS = 2
SCRAPE_SECONDS = 15
RETENTION = "15d"

SERVING_PAGE = Path(__file__).parent / "consoles" / "serving.html"
"""Drawn by Prometheus itself at `/consoles/serving.html`."""


def targets_path(state_directory: str, workload: str) -> str:
    """Where the scrape targets of a workload's servers are kept."""
    return f"{state_directory}/monitoring/targets/{workload}.json"


def rules_path(state_directory: str, workload: str) -> str:
    """Where the alert rules of a workload are kept."""
    return f"{state_directory}/monitoring/rules/{workload}.yml"


def rules_file(*groups: Group) -> str:
    """What Prometheus reads of `groups`."""
    return yaml.safe_dump(rendered(groups), sort_keys=False)


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """Where it runs."""

    machine: Machine


class Monitoring(pulumi.ComponentResource):
    """The Prometheus server."""

    url: str

    def __init__(
        self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `MonitoringArgs`."""
        super().__init__("falaj:local:Monitoring", name, {}, opts)
        machine = args.machine
        home = machine.directory("monitoring")
        self.url = machine.url("monitoring")
        self.process = machine.process(
            self,
            f"{name}-server",
            program="monitoring",
            command=[
                executable("prometheus"),
                f"--config.file={home}/prometheus.yml",
                f"--storage.tsdb.path={home}/data",
                f"--storage.tsdb.retention.time={RETENTION}",
                f"--web.listen-address={LOOPBACK}:{machine.ports['monitoring']}",
                f"--web.console.templates={home}/consoles",
                "--log.level=warn",
            ],
            directories=(f"{home}/data", f"{home}/rules", f"{home}/targets"),
            files={
                f"{home}/prometheus.yml": yaml.safe_dump(
                    self._configuration(machine, home), sort_keys=False
                ),
                f"{home}/consoles/{SERVING_PAGE.name}": SERVING_PAGE.read_text(encoding="utf-8"),
                f"{home}/rules/platform.yml": rules_file(platform_rules()),
            },
            health=Health(url=f"{self.url}/-/ready"),
            ports=("monitoring",),
        )
        self.register_outputs({"url": self.url})

    @staticmethod
    def _configuration(machine: Machine, home: str) -> dict[str, object]:
        def static(job: str, port: str) -> dict[str, object]:
            target = f"{LOOPBACK}:{machine.ports[port]}"
            return {"job_name": job, "static_configs": [{"targets": [target]}]}

        often: dict[str, object] = {
            "scrape_interval": f"{SERVING_SCRAPE_SECONDS}s",
            "scrape_timeout": f"{SERVING_SCRAPE_SECONDS}s",
        }
        ray = Path(machine.runtime_directory) / "ray" / "prom_metrics_service_discovery.json"
        return {
            "global": {
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "evaluation_interval": f"{SCRAPE_SECONDS}s",
            },
            "rule_files": [f"{home}/rules/*.yml"],
            "scrape_configs": [
                static("monitoring", "monitoring"),
                # beside the servers' figures, the split that led to them
                static("gateway", "gateway_metrics") | often,
                {"job_name": "training", "file_sd_configs": [{"files": [str(ray)]}]},
                {
                    "job_name": "serving",
                    "file_sd_configs": [{"files": [f"{home}/targets/*.json"]}],
                }
                | often,
            ],
        }
