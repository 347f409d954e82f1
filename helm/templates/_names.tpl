{{/* Names, labels, images, ports: what every template asks for. */}}

{{- define "nightshift.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "nightshift.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "nightshift.labels" -}}
{{ include "nightshift.podLabels" . }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* Of pods: without the chart's version, which alone is no reason to start them anew. */}}
{{- define "nightshift.podLabels" -}}
{{ include "nightshift.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: nightshift
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* dict root, image: the key below .Values.images. A digest wins over a tag. */}}
{{- define "nightshift.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $repository := ternary (printf "%s/%s" $image.registry $image.repository) $image.repository (ne $image.registry "") -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* Of the control service: the image with Python only where it trains as its own child. */}}
{{- define "nightshift.serveImage" -}}
{{- ternary "nightshift" "serve" .Values.trainer.enabled -}}
{{- end -}}

{{/* Whether the control service talks to the Kubernetes API: for trainer Jobs, discovery, routers. Evaluation does not. */}}
{{- define "nightshift.usesKubernetes" -}}
{{- if not .Values.evaluation.enabled -}}true{{- end -}}
{{- end -}}

{{/* Where commands and agents find the control service and the collector: one pod in evaluation. */}}
{{- define "nightshift.controlUrl" -}}
http://{{ include "nightshift.fullname" . }}-{{ ternary "evaluation" "serve" .Values.evaluation.enabled }}:{{ .Values.serve.port }}
{{- end -}}

{{- define "nightshift.collectorUrl" -}}
http://{{ include "nightshift.fullname" . }}-{{ ternary "evaluation" "collector" .Values.evaluation.enabled }}:{{ .Values.collector.port }}
{{- end -}}

{{- define "nightshift.isVllm" -}}
{{- if and .Values.vllm.enabled (not .Values.evaluation.enabled) -}}true{{- end -}}
{{- end -}}
