#!/usr/bin/env bash
# Plans one environment, holds the plan to the packs, and leaves reports of it in FOLDER. For
# pipelines; needs to read the environment's state and settings, and writes neither.
#
#   ENVIRONMENT=prod tools/ci/plan.sh FOLDER
#
# ENVIRONMENT    whose stack and whose policies
# REPORT_FORMAT  optional: what the log gets, `text` unless told (`falaj policy check --help`)
#
# plan.sha256 in FOLDER names the plan: `apply.sh` carries out that one and no other. The plan itself
# stays here, since it holds settings in plain; the log has its differences, for whoever approves.
# approvals/ENVIRONMENT.yaml, where it is there, says which losses are meant (`falaj plan check`).
set -euo pipefail
umask 077
: "${ENVIRONMENT:?}"
case $ENVIRONMENT in *[!a-z0-9-]*) echo "no environment: $ENVIRONMENT" >&2 && exit 2 ;; esac
out=${1:?the folder for the reports}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

packs=(--policy-pack policies/all --policy-pack-config "policies/config/$ENVIRONMENT.json")
approved=()
[ ! -f "approvals/$ENVIRONMENT.yaml" ] || approved=(--approve "approvals/$ENVIRONMENT.yaml")

failed=0
pulumi --non-interactive preview --diff --stack "$ENVIRONMENT" "${packs[@]}" || failed=1
pulumi --non-interactive preview --json --stack "$ENVIRONMENT" "${packs[@]}" >"$work/plan.json" ||
  failed=1
falaj policy check --plan "$work/plan.json" -e "$ENVIRONMENT" --format "${REPORT_FORMAT:-text}" \
  --sarif "$out/policies.sarif" --junit "$out/policies.xml" \
  --gitlab "$out/gl-code-quality-report.json" || failed=1
falaj plan check "$work/plan.json" "${approved[@]}" || failed=1
[ "$failed" -eq 0 ] || exit 1
falaj plan digest "$work/plan.json" >"$out/plan.sha256"
