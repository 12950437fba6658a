#!/bin/sh
# Every night: the catalogue goes into the index, new products get their categories, and a bad night is noticed.
#
#   CATALOGUE=/data/catalogue NEW=/data/new RESULT=/data/result GOLD=/data/gold.parquet ./nightly.sh
#
# RUBRIKA_INDEX names the index folder, QDRANT_URL and QDRANT_API_KEY its server, RAY_ADDRESS a cluster of Ray; all
# machines see these folders. Run again after a failure, it goes on where it was.
set -eu
: "${CATALOGUE:?a folder of parquet files}" "${NEW:?a folder of parquet files}" "${RESULT:?a folder for predictions}"
: "${QDRANT_URL:?the server of the points}"

# Only what changed is encoded. Exit 1 when no row could be used, or a file is damaged.
rubrika ingest "$CATALOGUE" --ray --rejects "$RESULT/rejects" --json

if [ -n "${GOLD:-}" ]; then
    # Exit 1 when the index answers worse than it did.
    rubrika evaluate "$GOLD" --index "${RUBRIKA_INDEX:-rubrika-index}" --fail-below weighted_f1=0.85 --json
fi

rubrika classify "$NEW" --ray -o "$RESULT/predictions" --details "$RESULT/details" --json
