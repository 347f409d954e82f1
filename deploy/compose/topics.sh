#!/usr/bin/env bash
# Makes Nightshift's topics where they do not exist yet, as `nightshift doctor` wants them. With Kafka's own scripts:
#   KAFKA_BROKERS=kafka:9092 KAFKA_BIN=/opt/kafka/bin bash topics.sh
# On a single broker: KAFKA_REPLICAS=1 KAFKA_MIN_IN_SYNC=1. With TLS or a login: KAFKA_CLIENT_CONFIG=client.properties.
set -euo pipefail

for topic in otlp_spans otlp_logs nightshift_dead_letter; do
  "${KAFKA_BIN:-/opt/kafka/bin}/kafka-topics.sh" --bootstrap-server "$KAFKA_BROKERS" \
    ${KAFKA_CLIENT_CONFIG:+--command-config "$KAFKA_CLIENT_CONFIG"} \
    --create --if-not-exists --topic "$topic" \
    --partitions "${KAFKA_PARTITIONS:-6}" --replication-factor "${KAFKA_REPLICAS:-3}" \
    --config min.insync.replicas="${KAFKA_MIN_IN_SYNC:-2}" \
    --config max.message.bytes=1048588 \
    --config retention.ms=604800000
done
