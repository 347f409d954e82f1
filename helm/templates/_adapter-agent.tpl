{{/*
The adapter agent as a native sidecar in a pod of vLLM's. dict root, service (whose replica the pod is), resources.
It has no startupProbe: the kubelet would hold vLLM back until it passes, and it waits for vLLM. Its readinessProbe keeps the pod out of service until the adapter
that stable answers with is proven active on it.
*/}}
{{- define "nightshift.adapterAgent" -}}
name: adapter-agent
restartPolicy: Always
image: {{ include "nightshift.image" (dict "root" .root "image" "nightshift") }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
args:
  - adapter-agent
  - --replica
  - $(POD_NAME)
  - --service
  - {{ .service }}
  - --config
  - /etc/nightshift/nightshift.yaml
  - --token-file
  - /run/secrets/nightshift/agent-token
env:
  - name: POD_NAME
    valueFrom: { fieldRef: { fieldPath: metadata.name } }
  - name: POD_UID
    valueFrom: { fieldRef: { fieldPath: metadata.uid } }
  {{- include "nightshift.env" (dict "root" .root "listens" (list "ADAPTER_AGENT")) | nindent 2 }}
ports:
  - { name: agent, containerPort: {{ .root.Values.policyServers.agentPort }} }
  {{- if .root.Values.metrics.enabled }}
  - { name: metrics, containerPort: {{ .root.Values.metrics.port }} }
  {{- end }}
livenessProbe:
  httpGet: { path: /health, port: agent }
  # It reads the base model before it listens, unless agents.*.baseModelDigest says what it is.
  initialDelaySeconds: 30
  periodSeconds: 10
  timeoutSeconds: 4
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /ready, port: agent }
  periodSeconds: 2
  timeoutSeconds: 4
  failureThreshold: 2
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- include "nightshift.containerSecurity" .root | nindent 2 }}
volumeMounts:
  {{- include "nightshift.mounts" (dict "root" .root "process" "adapter-agent" "baseModel" true "artifacts" true) | nindent 2 }}
{{- end -}}
