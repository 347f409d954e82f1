{{/* dict root, process: the Secrets' keys that a process reads, as the files of one projected volume. Empty where it reads none. */}}
{{- define "nightshift.secretSources" -}}
{{- $process := .process -}}
{{- $secrets := .root.Values.secrets -}}
{{- $config := include "nightshift.config" .root | fromYaml -}}
{{- $usesS3 := eq (dig "artifacts" "driver" "file" $config) "s3" -}}
{{- $readers := dict
  "postgresUrl" (dict "file" "postgres-url" "processes" (list "serve" "ingest"))
  "redactionKey" (dict "file" "redaction-key" "processes" (list "serve" "ingest" "collector"))
  "signingKey" (dict "file" "adapter-signing.pem" "processes" (list "serve"))
  "signingPublicKey" (dict "file" "adapter-signing.pub.pem" "processes" (list "adapter-agent"))
  "operatorToken" (dict "file" "operator-token" "processes" (list "run" "test"))
  "gatewayToken" (dict "file" "gateway-token" "processes" (list "gateway"))
  "agentToken" (dict "file" "agent-token" "processes" (list "adapter-agent"))
  "collectorToken" (dict "file" "collector-token" "processes" (ternary (list "gateway" "test") (list "test") .root.Values.collector.enabled))
  "s3AccessKeyId" (dict "file" "s3-access-key-id" "processes" (ternary (list "serve" "ingest" "collector" "adapter-agent") list $usesS3))
  "s3SecretAccessKey" (dict "file" "s3-secret-access-key" "processes" (ternary (list "serve" "ingest" "collector" "adapter-agent") list $usesS3))
-}}
{{- range $key := keys $readers | sortAlpha -}}
{{- $reader := index $readers $key -}}
{{- if has $process $reader.processes }}
{{- $secret := index $secrets $key }}
- secret:
    name: {{ default $secrets.existingSecret $secret.existingSecret }}
    items: [{ key: {{ $secret.key }}, path: {{ $reader.file }} }]
{{- end }}
{{- end }}
{{- range $file := $secrets.files }}
{{- if has $process $file.processes }}
- secret:
    name: {{ default $secrets.existingSecret $file.existingSecret }}
    items: [{ key: {{ default $file.file $file.key }}, path: {{ $file.file }} }]
{{- end }}
{{- end }}
{{- end -}}
