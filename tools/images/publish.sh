#!/usr/bin/env bash
# Builds the image of one kind, pushes it to the registry in the country, signs it and says what is in
# it, by its digest; prints the address for the settings. For pipelines; needs docker with buildx (0.13
# or later), cosign 2 and syft, all signed in to the registry, and the right to sign with the key.
#
#   REGISTRY=… BASE=… SIGNING_KEY=… INDEX_FILE=… tools/images/publish.sh KIND REPOSITORY
#
# REGISTRY      of the environment, such as 123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev
# BASE          the base with Python 3.12, in a registry in the country, by its digest
# SIGNING_KEY   ARN of the KMS key that `falaj:signatures` names
# INDEX_FILE    a file with the address of the package index in the country
# AUTHORITIES   optional: PEM of who signs the index's certificate
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "publish.sh: $1" >&2; exit 1; }

kind=${1:-} repository=${2:-}
case $kind in
  training | serving) file=workloads/images/$kind/Dockerfile ;;
  tracking) file=components/mlflow_server/Dockerfile ;;
  *) fail "which image? training, serving or tracking" ;;
esac
[ -n "$repository" ] || fail "which repository? such as credit-risk"
for name in REGISTRY BASE SIGNING_KEY INDEX_FILE; do
  [ -n "${!name:-}" ] || fail "$name is not set"
done
[[ $BASE =~ ^[a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64}$ ]] ||
  fail "BASE is $BASE: name it by its digest, a tag can be moved to another image"
[[ $SIGNING_KEY =~ ^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/.+$ ]] ||
  fail "SIGNING_KEY is $SIGNING_KEY: give the ARN of a KMS key"
[ -s "$INDEX_FILE" ] || fail "$INDEX_FILE is missing or empty"
[ -z "$(git status --porcelain)" ] || fail "there are changes that no commit holds"

revision=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

secrets=(--secret "id=index,src=$INDEX_FILE")
[ -z "${AUTHORITIES:-}" ] || secrets+=(--secret "id=authorities,src=$AUTHORITIES")

# no cache: what was built before on this machine is no input; the list and the provenance that
# buildx would add are made below, signed
docker buildx build --no-cache --pull --provenance=false --sbom=false --platform linux/amd64 \
  --file "$file" --build-arg "BASE=$BASE" --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" \
  --build-arg "REVISION=$revision" --build-arg "SOURCE=${SOURCE_URL:-}" \
  --build-arg "VERSION=$revision" "${secrets[@]}" --metadata-file "$work/built.json" \
  --output "type=image,name=$REGISTRY/$repository:$revision,push=true,rewrite-timestamp=true" . >&2

digest=$(sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]\{64\}\)".*/\1/p' "$work/built.json")
[ -n "$digest" ] || fail "the engine told no digest"
image=$REGISTRY/$repository@$digest

syft scan "registry:$image" --output "cyclonedx-json=$work/contents.json" >&2
# a key of one's own needs no public log, which would be outside of the country
key=(--key "awskms:///$SIGNING_KEY" --yes --tlog-upload=false)
cosign sign "${key[@]}" "$image" >&2
cosign attest "${key[@]}" --type cyclonedx --predicate "$work/contents.json" "$image" >&2
cosign verify --key "awskms:///$SIGNING_KEY" --insecure-ignore-tlog "$image" >/dev/null
echo "$image"
