{{/* The product's config: what the chart knows, and over it what `config` says. */}}
{{- define "nightshift.config" -}}
{{- $given := deepCopy .Values.config -}}
{{- $secrets := "/run/secrets/nightshift" -}}
{{- $own := dict "dataDir" "/var/lib/nightshift" "python" "/app/.venv/bin/python" -}}
{{- $_ := set $own "collector" (dict "port" (int .Values.collector.port) "grpc" (dict "port" (int .Values.collector.grpcPort))) -}}
{{- $_ := set $own "gateway" (dict "port" (int .Values.gateway.port)) -}}
{{- /* On every address: kubectl port-forward and exec call it at localhost of its pod, Services and probes at the pod's own. */ -}}
{{- $_ := set $own "api" (dict "host" "*" "port" (int .Values.serve.port)) -}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $own "telemetry" (dict "prometheus" (dict "port" (int .Values.metrics.port))) -}}
{{- end -}}
{{- if not .Values.evaluation.enabled -}}
{{- $_ := mergeOverwrite $own (include "nightshift.config.production" . | fromYaml) -}}
{{- if not (hasKey $given "store") -}}
{{- $_ := set $own "store" (dict "driver" "postgres") -}}
{{- end -}}
{{- if not (hasKey $given "transport") -}}
{{- $_ := set $own "transport" (dict "driver" "kafka" "brokers" (list "kafka:9092")) -}}
{{- end -}}
{{- if not (hasKey $given "artifacts") -}}
{{- $_ := set $own "artifacts" (dict "driver" "s3" "bucket" "nightshift") -}}
{{- end -}}
{{- end -}}
{{- $config := mergeOverwrite $own $given -}}
{{- if not .Values.evaluation.enabled -}}
{{- if eq $config.store.driver "postgres" -}}
{{- $_ := set $config "store" (merge $config.store (dict "urlFile" (printf "%s/postgres-url" $secrets))) -}}
{{- end -}}
{{- $artifacts := merge $config.artifacts (dict "signingKeyFile" (printf "%s/adapter-signing.pem" $secrets)) -}}
{{- if eq $artifacts.driver "s3" -}}
{{- $keys := dict "accessKeyIdFile" (printf "%s/s3-access-key-id" $secrets) "secretAccessKeyFile" (printf "%s/s3-secret-access-key" $secrets) -}}
{{- $artifacts = merge $artifacts $keys -}}
{{- end -}}
{{- $_ := set $config "artifacts" $artifacts -}}
{{- include "nightshift.config.tenants" $config -}}
{{- end -}}
{{- if include "nightshift.isVllm" . -}}
{{- $discover := dict "service" (printf "%s-vllm" (include "nightshift.fullname" .)) "port" (int .Values.vllm.port) "agentPort" (int .Values.policyServers.agentPort) -}}
{{- range $agent := values (default dict $config.agents) -}}
{{- if not (hasKey $agent "policyServers") -}}
{{- $_ := set $agent "policyServers" (dict "discover" $discover) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "nightshift.config.production" -}}
{{- $full := include "nightshift.fullname" . -}}
gateway:
  controlUrl: {{ include "nightshift.controlUrl" . }}
  {{- if .Values.collector.enabled }}
  collectorUrl: {{ include "nightshift.collectorUrl" . }}
  collectorTokenFile: /run/secrets/nightshift/collector-token
  {{- end }}
adapterAgent:
  port: {{ .Values.policyServers.agentPort }}
  controlUrl: {{ include "nightshift.controlUrl" . }}
  publicKeyFile: /run/secrets/nightshift/adapter-signing.pub.pem
ingest: { port: {{ .Values.ingest.port }} }
kubernetes:
  lease: {{ $full }}-serve
{{- if .Values.trainer.enabled }}
training:
  jobRunner:
    {{- include "nightshift.jobRunner" . | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Every pod would make a redaction key of its own, and a person would have as many pseudonyms as there are pods. */}}
{{- define "nightshift.config.tenants" -}}
{{- if not (hasKey . "tenants") -}}
{{- $_ := set . "tenants" (dict "default" dict) -}}
{{- end -}}
{{- range $slug, $tenant := .tenants -}}
{{- if eq $slug "default" -}}
{{- $_ := set $tenant "redactionKeyFile" (default "/run/secrets/nightshift/redaction-key" $tenant.redactionKeyFile) -}}
{{- else if not $tenant.redactionKeyFile -}}
{{- fail (printf "config.tenants.%s.redactionKeyFile is missing: add the tenant's key to secrets.files and name it here as /run/secrets/nightshift/<file>" $slug) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is wrong beyond a schema. Said once, by the ConfigMap, with the name of the value. */}}
{{- define "nightshift.check" -}}
{{- $agents := default dict .Values.config.agents -}}
{{- range $slug := keys .Values.nights.agents -}}
{{- if not (hasKey $agents $slug) -}}
{{- fail (printf "nights.agents.%s names no agent of config.agents" $slug) -}}
{{- end -}}
{{- end -}}
{{- range $name, $image := .Values.images -}}
{{- if and (kindIs "map" $image) (eq (toString $image.tag) "latest") -}}
{{- fail (printf "images.%s.tag is latest: name a version, or a digest" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (include "nightshift.isVllm" .) (not .Values.baseModel.volume) -}}
{{- fail "baseModel.volume is empty: vLLM reads the base model from it. Name a claim: { persistentVolumeClaim: { claimName: … } }" -}}
{{- end -}}
{{- range $slug, $agent := $agents -}}
{{- if and (not $.Values.baseModel.volume) (not $agent.baseModelDigest) -}}
{{- fail (printf "baseModel.volume is empty, and config.agents.%s.baseModelDigest too: mount the base model, { persistentVolumeClaim: { claimName: … } }, or say what it is" $slug) -}}
{{- end -}}
{{- end -}}
{{- if not .Values.evaluation.enabled -}}
{{- $config := include "nightshift.config" . | fromYaml -}}
{{- if and (eq $config.artifacts.driver "file") (not .Values.storage.existingClaim) -}}
{{- fail "storage.existingClaim is empty: config.artifacts.driver is file, and pods share artifacts on a ReadWriteMany claim only" -}}
{{- end -}}
{{- if and (not .Values.trainer.enabled) (not .Values.storage.existingClaim) -}}
{{- fail "storage.existingClaim is empty: with trainer.enabled false the replicas of serve share run directories on a ReadWriteMany claim" -}}
{{- end -}}
{{- $bases := list -}}
{{- range $agent := $agents -}}{{- $bases = append $bases $agent.baseModel -}}{{- end -}}
{{- if and (include "nightshift.isVllm" .) (not .Values.vllm.model) (ne (len (uniq $bases)) 1) -}}
{{- fail "vllm.model is empty: it is taken from config.agents only where all of them have one baseModel" -}}
{{- end -}}
{{- end -}}
{{- end -}}
