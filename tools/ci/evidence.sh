#!/usr/bin/env bash
# Holds what is deployed to the rules and writes it down for an auditor, signed and verified. For
# pipelines, after an `up`; needs to read the environment's state.
#
#   ENVIRONMENT=prod JURISDICTION=mainland-bank tools/ci/evidence.sh FOLDER
#
# JURISDICTION         as `falaj evidence create --help` lists them
# EVIDENCE_KEY         awskms:///ARN of a key that this job may sign with, or a file with a private one
# EVIDENCE_PUBLIC_KEY  a file with its public half, from somewhere that this job cannot write
# REPORT_FORMAT        optional: what the log gets, `text` unless told
#
# The evidence is written whatever the rules say; the exit status is theirs.
set -euo pipefail
umask 077
: "${ENVIRONMENT:?}" "${JURISDICTION:?}" "${EVIDENCE_KEY:?}" "${EVIDENCE_PUBLIC_KEY:?}"
case $ENVIRONMENT in *[!a-z0-9-]*) echo "no environment: $ENVIRONMENT" >&2 && exit 2 ;; esac
out=${1:?the folder for the evidence}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

pulumi --non-interactive stack export --stack "$ENVIRONMENT" --file "$work/state.json"
kept=0
falaj policy check --state "$work/state.json" -e "$ENVIRONMENT" \
  --format "${REPORT_FORMAT:-text}" --sarif "$out/policies.sarif" --junit "$out/policies.xml" \
  --gitlab "$out/gl-code-quality-report.json" || kept=1
falaj evidence create --state "$work/state.json" -e "$ENVIRONMENT" \
  --jurisdiction "$JURISDICTION" --key "$EVIDENCE_KEY" --out "$out/evidence"
falaj evidence verify "$out/evidence" --key "$EVIDENCE_PUBLIC_KEY"
exit "$kept"
