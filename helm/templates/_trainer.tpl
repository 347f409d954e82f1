{{/* config.training.jobRunner: what the chart knows of trainer Jobs, and over it what `trainer.jobRunner` says. */}}
{{- define "nightshift.jobRunner" -}}
{{- $full := include "nightshift.fullname" . -}}
{{- $images := .Values.images -}}
{{- $own := dict
  "driver" "kubernetes"
  "image" (include "nightshift.image" (dict "root" . "image" "trainer"))
  "imagePullPolicy" $images.pullPolicy
  "imagePullSecrets" $images.pullSecrets
  "serviceAccount" (printf "%s-trainer" $full)
  "labels" (dict "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/version" .Chart.AppVersion)
-}}
{{- with .Values.baseModel.volume.persistentVolumeClaim -}}
{{- $_ := set $own "modelCache" (dict "claimName" .claimName "mountPath" $.Values.baseModel.mountPath) -}}
{{- end -}}
{{- if eq (dig "artifacts" "driver" "s3" .Values.config) "s3" -}}
{{- /* The keys of the bucket and no other: a trainer's pod has no business with the database or the signing key. */ -}}
{{- $secrets := list -}}
{{- range $key, $file := dict "s3AccessKeyId" "s3-access-key-id" "s3SecretAccessKey" "s3-secret-access-key" -}}
{{- $secret := index $.Values.secrets $key -}}
{{- $item := dict "key" $secret.key "path" $file -}}
{{- $secrets = append $secrets (dict "name" (default $.Values.secrets.existingSecret $secret.existingSecret) "items" (list $item)) -}}
{{- end -}}
{{- $image := include "nightshift.image" (dict "root" . "image" "nightshift") -}}
{{- $_ := set $own "runDirectory" (dict "kind" "sync" "image" $image "configMap" (printf "%s-config" $full) "secrets" $secrets) -}}
{{- else -}}
{{- $_ := set $own "runDirectory" (dict "kind" "claim" "claimName" .Values.storage.existingClaim) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.trainer.jobRunner)) -}}
{{- end -}}
