{{/* dict root, component: a peer that is one of our own components. */}}
{{- define "nightshift.peer" -}}
- podSelector:
    matchLabels:
      {{- include "nightshift.selector" . | nindent 6 }}
{{- end -}}

{{/* Replicas of vLLM as a NetworkPolicyPeer: this chart's, else those that policyServers names, else whatever listens on their port. Empty: anywhere. */}}
{{- define "nightshift.policyServerPeer" -}}
{{- if include "nightshift.isVllm" . -}}
{{- include "nightshift.peer" (dict "root" . "component" "vllm") -}}
{{- else if or .Values.policyServers.podSelector .Values.policyServers.namespace -}}
- podSelector: {{ toJson .Values.policyServers.podSelector }}
  {{- with .Values.policyServers.namespace }}
  namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ . }} } }
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
dict root, component, selector (overrides the component's), from: list of dict ports (list), peers (list of components or raw peers as YAML),
egress: list of names below networkPolicy.egress, to: list of dict component, ports; policyServers (bool)
*/}}
{{- define "nightshift.policy" -}}
{{- $root := .root -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "nightshift.fullname" .root }}-{{ .component }}
  labels:
    {{- include "nightshift.labels" . | nindent 4 }}
spec:
  podSelector:
    {{- if .selector }}
    {{- .selector | nindent 4 }}
    {{- else }}
    matchLabels:
      {{- include "nightshift.selector" . | nindent 6 }}
    {{- end }}
  policyTypes: {{ ternary "[Ingress]" "[Ingress, Egress]" (default false .ingressOnly) }}
  {{- /* No rule lets nobody in. An empty list would say the same, and be a change at every upgrade: the API server does not keep it. */}}
  {{- $ingress := list }}
  {{- range $rule := .from }}{{ if $rule.peers }}{{ $ingress = append $ingress $rule }}{{ end }}{{ end }}
  {{- if $ingress }}
  ingress:
    {{- range $rule := $ingress }}
    - ports:
        {{- range $rule.ports }}
        - { port: {{ . }}, protocol: TCP }
        {{- end }}
      from:
        {{- toYaml $rule.peers | nindent 8 }}
    {{- end }}
  {{- end }}
  {{- if not (default false .ingressOnly) }}
  egress:
    {{- range $name := .egress }}
    {{- with index $root.Values.networkPolicy.egress $name }}
    # {{ $name }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- range .to }}
    # {{ .component }}
    - to:
        {{- include "nightshift.peer" (dict "root" $root "component" .component) | nindent 8 }}
      ports:
        {{- range .ports }}
        - { port: {{ . }}, protocol: TCP }
        {{- end }}
    {{- end }}
    {{- if .policyServers }}
    # policy servers and their adapter agents
    - ports:
        - { port: {{ ternary $root.Values.vllm.port $root.Values.policyServers.port $root.Values.vllm.enabled }}, protocol: TCP }
        - { port: {{ $root.Values.policyServers.agentPort }}, protocol: TCP }
      {{- with include "nightshift.policyServerPeer" $root }}
      to:
        {{- . | nindent 8 }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}
