{{/* Pods and their parts. All of them pass Pod Security "restricted". */}}

{{- define "nightshift.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.security }}
{{- if not (kindIs "invalid" .runAsUser) }}
runAsUser: {{ .runAsUser }}
{{- end }}
{{- if not (kindIs "invalid" .runAsGroup) }}
runAsGroup: {{ .runAsGroup }}
{{- end }}
{{- if not (kindIs "invalid" .fsGroup) }}
fsGroup: {{ .fsGroup }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end }}
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "nightshift.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* dict root, component, values: where the pod may run. */}}
{{- define "nightshift.placement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if hasKey .values "topologySpreadConstraints" }}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "nightshift.selector" . | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What of the config an adapter agent reads: a fleet of vLLM is not started anew because a night's threshold has changed. */}}
{{- define "nightshift.fleetConfig" -}}
{{- $config := include "nightshift.config" . | fromYaml -}}
{{- $agents := dict -}}
{{- range $slug, $agent := default dict $config.agents -}}
{{- $_ := set $agents $slug (pick $agent "model" "baseModel" "baseModelDigest" "policyServers") -}}
{{- end -}}
{{- toYaml (dict "agents" $agents "rest" (pick $config "adapterAgent" "artifacts" "dataDir" "logLevel" "telemetry")) -}}
{{- end -}}

{{/* dict root, component, values, config (text; unset: all of it): metadata of a pod. The checksum starts pods anew when the config that they read has changed. */}}
{{- define "nightshift.podMetadata" -}}
labels:
  {{- include "nightshift.podLabels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ default (include "nightshift.config" .root) .config | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* root: what every pod says of itself before its containers. */}}
{{- define "nightshift.podStart" -}}
enableServiceLinks: false
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "nightshift.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* dict root, listens (config paths of hosts), extraEnv: a listener binds to the pod's address, as probes and Services call it. The API's is in the config. */}}
{{- define "nightshift.env" -}}
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
{{- range .listens }}
- name: NIGHTSHIFT_{{ . }}__HOST
  value: $(POD_IP)
{{- end }}
{{- if .root.Values.metrics.enabled }}
- name: NIGHTSHIFT_TELEMETRY__PROMETHEUS__HOST
  value: $(POD_IP)
{{- end }}
{{- range $name, $value := .extraEnv }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* dict port, health, ready, startupSeconds: probes on the process's own routes. */}}
{{- define "nightshift.probes" -}}
startupProbe:
  httpGet: { path: {{ .health }}, port: {{ .port }} }
  periodSeconds: 2
  timeoutSeconds: 4
  failureThreshold: {{ div (add .startupSeconds 1) 2 }}
livenessProbe:
  httpGet: { path: {{ .health }}, port: {{ .port }} }
  periodSeconds: 10
  timeoutSeconds: 4
  failureThreshold: 6
readinessProbe:
  httpGet: { path: {{ .ready }}, port: {{ .port }} }
  periodSeconds: 5
  timeoutSeconds: 4
  failureThreshold: 2
{{- end -}}

{{/* dict root, process, baseModel (bool): mounts and volumes go together. */}}
{{- define "nightshift.mounts" -}}
- { name: config, mountPath: /etc/nightshift, readOnly: true }
- { name: data, mountPath: /var/lib/nightshift }
- { name: tmp, mountPath: /tmp }
{{- if include "nightshift.secretSources" . }}
- { name: secrets, mountPath: /run/secrets/nightshift, readOnly: true }
{{- end }}
{{- if and .baseModel .root.Values.baseModel.volume }}
- { name: base-model, mountPath: {{ .root.Values.baseModel.mountPath }}, readOnly: true }
{{- end }}
{{- if and .artifacts .root.Values.storage.existingClaim }}
- { name: storage, mountPath: /var/lib/nightshift/artifacts, subPath: artifacts }
{{- if eq .process "serve" }}
- { name: storage, mountPath: /var/lib/nightshift/runs, subPath: runs }
{{- end }}
{{- end }}
{{- end -}}

{{- define "nightshift.volumes" -}}
- name: config
  configMap: { name: {{ include "nightshift.fullname" .root }}-config }
- name: data
  {{- if .dataClaim }}
  persistentVolumeClaim: { claimName: {{ .dataClaim }} }
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir: {}
{{- with include "nightshift.secretSources" . | trim }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if and .baseModel .root.Values.baseModel.volume }}
- name: base-model
  {{- toYaml .root.Values.baseModel.volume | nindent 2 }}
{{- end }}
{{- if and .artifacts .root.Values.storage.existingClaim }}
- name: storage
  persistentVolumeClaim: { claimName: {{ .root.Values.storage.existingClaim }} }
{{- end }}
{{- end -}}
