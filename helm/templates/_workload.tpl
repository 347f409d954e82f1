{{/*
A Deployment of one of our processes. dict:
  root, process (also its component and key below .Values), image, args (list), listens (config paths), health, ready (paths), port (name of the probed one),
  ports (dict name → number), baseModel, artifacts (bools), api (bool: may use the Kubernetes API), drain (seconds that endpoints need to forget it)
*/}}
{{- define "nightshift.deployment" -}}
{{- $values := index .root.Values .process -}}
{{- $pod := dict "root" .root "component" .process "values" $values -}}
{{- $name := printf "%s-%s" (include "nightshift.fullname" .root) .process -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "nightshift.labels" $pod | nindent 4 }}
spec:
  {{- if not (dig "keda" "enabled" false $values) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
  selector:
    matchLabels:
      {{- include "nightshift.selector" $pod | nindent 6 }}
  template:
    metadata:
      {{- include "nightshift.podMetadata" $pod | nindent 6 }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: {{ .api }}
      {{- include "nightshift.podStart" .root | nindent 6 }}
      {{- with include "nightshift.placement" $pod | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      containers:
        - name: {{ .process }}
          image: {{ include "nightshift.image" . }}
          imagePullPolicy: {{ .root.Values.images.pullPolicy }}
          args:
            {{- toYaml .args | nindent 12 }}
          env:
            {{- include "nightshift.env" (dict "root" .root "listens" .listens "extraEnv" (merge (dict) $values.extraEnv (default dict .env))) | nindent 12 }}
          ports:
            {{- range $port, $number := .ports }}
            - { name: {{ $port }}, containerPort: {{ $number }} }
            {{- end }}
            {{- if .root.Values.metrics.enabled }}
            - { name: metrics, containerPort: {{ .root.Values.metrics.port }} }
            {{- end }}
          {{- include "nightshift.probes" (dict "port" .port "health" .health "ready" .ready "startupSeconds" $values.startupSeconds) | nindent 10 }}
          {{- if .drain }}
          # Endpoints forget a pod some seconds after it was told to end.
          lifecycle: { preStop: { sleep: { seconds: {{ .drain }} } } }
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "nightshift.containerSecurity" .root | nindent 12 }}
          volumeMounts:
            {{- include "nightshift.mounts" . | nindent 12 }}
      volumes:
        {{- include "nightshift.volumes" . | nindent 8 }}
{{- end -}}

{{/* dict root, component, ports (dict name → number), service, headless: a Service of a component. */}}
{{- define "nightshift.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "nightshift.fullname" .root }}-{{ .component }}
  labels:
    {{- include "nightshift.labels" . | nindent 4 }}
  {{- with dig "annotations" dict (default dict .service) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if .headless }}
  clusterIP: None
  {{- else }}
  type: {{ dig "type" "ClusterIP" (default dict .service) }}
  {{- end }}
  selector:
    {{- include "nightshift.selector" . | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - { name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }} }
    {{- end }}
    {{- if .root.Values.metrics.enabled }}
    - { name: metrics, port: {{ .root.Values.metrics.port }}, targetPort: metrics }
    {{- end }}
{{- end -}}

{{/* dict root, component, values: only where more than one replica is wanted, or a drain would wait for ever. */}}
{{- define "nightshift.pdb" -}}
{{- $keda := dig "keda" dict .values -}}
{{- if gt (int (ternary (dig "minReplicas" 1 $keda) .values.replicas (dig "enabled" false $keda))) 1 }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "nightshift.fullname" .root }}-{{ .component }}
  labels:
    {{- include "nightshift.labels" . | nindent 4 }}
spec:
  {{- toYaml .values.pdb | nindent 2 }}
  selector:
    matchLabels:
      {{- include "nightshift.selector" . | nindent 6 }}
{{- end }}
{{- end -}}
