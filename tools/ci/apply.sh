#!/usr/bin/env bash
# Carries out the plan that was approved, or nothing: it is made again, and refused when it is not the
# same one. For the protected job of a pipeline; needs the role that deploys.
#
#   ENVIRONMENT=prod APPROVED=<what plan.sh wrote into plan.sha256> tools/ci/apply.sh
#
# The engine is held to the new plan as well (`--plan`), so that nothing can come in between.
set -euo pipefail
umask 077
: "${ENVIRONMENT:?}" "${APPROVED:?the digest of the plan that was approved}"
case $ENVIRONMENT in *[!a-z0-9-]*) echo "no environment: $ENVIRONMENT" >&2 && exit 2 ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

packs=(--policy-pack policies/all --policy-pack-config "policies/config/$ENVIRONMENT.json")
approved=()
[ ! -f "approvals/$ENVIRONMENT.yaml" ] || approved=(--approve "approvals/$ENVIRONMENT.yaml")

pulumi --non-interactive preview --json --save-plan "$work/held" --stack "$ENVIRONMENT" \
  "${packs[@]}" >"$work/plan.json" || {
  echo "the preview failed, or the packs stop it: the job that plans says why" >&2
  exit 1
}
falaj plan check "$work/plan.json" "${approved[@]}"
now=$(falaj plan digest "$work/plan.json")
[ "$now" = "$APPROVED" ] || {
  echo "refused: the plan is $now now, and $APPROVED was approved: something changed since." >&2
  echo "Run the pipeline again from its beginning, and look at the new plan." >&2
  exit 1
}
pulumi --non-interactive up --yes --skip-preview --plan "$work/held" --stack "$ENVIRONMENT" \
  "${packs[@]}"
