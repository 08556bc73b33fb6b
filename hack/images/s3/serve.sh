#!/bin/sh
# Serves S3 on port 8333 from /data, with the identities of /etc/s3/identities.json, and makes the buckets named in BUCKETS.
# /data/.ready exists once they are there.
set -eu
rm -f /data/.ready
weed server -dir=/data -ip=127.0.0.1 -ip.bind=0.0.0.0 -filer -volume.max=100 -master.volumeSizeLimitMB=256 \
  -s3 -s3.port=8333 -s3.config=/etc/s3/identities.json &
server=$!
trap 'kill "$server"' TERM INT
(
  for bucket in $BUCKETS; do
    # The store's parts find each other over some seconds; until then the shell fails.
    until echo "s3.bucket.list" | weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 2>/dev/null | grep -qw "$bucket"; do
      kill -0 "$server"
      echo "s3.bucket.create -name $bucket" | weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 >/dev/null 2>&1 || sleep 0.3
    done
  done
  touch /data/.ready
) &
wait "$server"
