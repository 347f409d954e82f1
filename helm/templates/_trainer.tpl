{{/* config.training.jobRunner: what the chart knows of trainer Jobs, and over it what `trainer.jobRunner` says. */}}
{{- define "nightshift.jobRunner" -}}
{{- $full := include "nightshift.fullname" . -}}
{{- $own := dict
  "driver" "kubernetes"
  "namespace" .Release.Namespace
  "image" (include "nightshift.image" (dict "root" . "image" "trainer"))
  "serviceAccount" (printf "%s-trainer" $full)
-}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.trainer.jobRunner)) -}}
{{- end -}}
