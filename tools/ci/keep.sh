#!/usr/bin/env bash
# Lays a folder of evidence into a bucket in the country that keeps it for years, and refuses any
# other bucket. For pipelines; needs s3:PutObject and the reading of the bucket's lock and place.
#
#   ENVIRONMENT=prod EVIDENCE_BUCKET=… EVIDENCE_YEARS=5 AWS_REGION=me-central-1 \
#     tools/ci/keep.sh FOLDER
set -euo pipefail
: "${ENVIRONMENT:?}" "${EVIDENCE_BUCKET:?}" "${EVIDENCE_YEARS:?}" "${AWS_REGION:?}"
from=${1:?the folder}
case $EVIDENCE_YEARS in '' | *[!0-9]*) echo "no number of years: $EVIDENCE_YEARS" >&2 && exit 2 ;; esac

fail() {
  echo "refused: $1" >&2
  exit 1
}

[ -f "$from/manifest.json" ] || fail "$from is no evidence: falaj evidence create writes it"
place=$(aws s3api get-bucket-location --region "$AWS_REGION" --bucket "$EVIDENCE_BUCKET" \
  --query LocationConstraint --output text)
[ "$place" = "$AWS_REGION" ] || fail "$EVIDENCE_BUCKET lies in $place, not in $AWS_REGION"
held=$(aws s3api get-object-lock-configuration --region "$AWS_REGION" --bucket "$EVIDENCE_BUCKET" \
  --query 'ObjectLockConfiguration.Rule.DefaultRetention.[Mode,Years,Days]' --output text)
read -r mode years days <<<"$held"
case $years in *[!0-9]*) years=0 ;; esac
case $days in *[!0-9]*) days=0 ;; esac
# a year of a lock has 365 days, a year of an auditor may have one more
[ "$mode" = COMPLIANCE ] && [ $((years * 365 + days)) -ge $((EVIDENCE_YEARS * 365)) ] ||
  fail "$EVIDENCE_BUCKET keeps what it gets as '$held', not $EVIDENCE_YEARS years in COMPLIANCE mode"

target="s3://$EVIDENCE_BUCKET/$ENVIRONMENT/$(date -u +%Y-%m-%dT%H%M%SZ)"
aws s3 cp --recursive --only-show-errors --region "$AWS_REGION" "$from" "$target/"
echo "$target"
