#!/bin/sh
# Asks the metadata service for the role of this machine.
set -eu
service=http://169.254.169.254/latest
token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$service/api/token")
role=$(curl -fsS -H "X-aws-ec2-metadata-token: $token" "$service/meta-data/iam/security-credentials/")
echo "this machine is $role"
curl -fsS -H "X-aws-ec2-metadata-token: $token" "$service/meta-data/iam/security-credentials/$role" |
  grep -q '"AccessKeyId"'
