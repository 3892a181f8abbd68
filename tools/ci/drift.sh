#!/usr/bin/env bash
# Fails when what is there is not what the state says: somebody changed it by hand. For a nightly
# pipeline; changes nothing, also not the state.
#
#   ENVIRONMENT=prod tools/ci/drift.sh
set -euo pipefail
: "${ENVIRONMENT:?}"
case $ENVIRONMENT in *[!a-z0-9-]*) echo "no environment: $ENVIRONMENT" >&2 && exit 2 ;; esac
exec pulumi --non-interactive refresh --preview-only --diff --expect-no-changes \
  --stack "$ENVIRONMENT"
