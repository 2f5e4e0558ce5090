{{/* Names, labels and addresses that several objects share. */}}

{{- define "catga.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/* At most 52: a StatefulSet adds a hash of 10 to it in a label of 63. */}}
{{- define "catga.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "catga.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "catga.clusterName" -}}
{{- default (include "catga.fullname" . | replace "." "-") .Values.cluster.name -}}
{{- end }}

{{/* What selectors use. Never changes: selectors cannot. Takes (list $ "component"). */}}
{{- define "catga.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "catga.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Takes (list $ "component"). */}}
{{- define "catga.labels" -}}
{{- $root := index . 0 -}}
{{ include "catga.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* name, labels and annotations of an object. Takes (list $ "component" "name" annotations), and
further labels if there are any. */}}
{{- define "catga.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "catga.labels" (list $root (index . 1)) | nindent 2 }}
{{- if gt (len .) 4 }}
{{- with index . 4 }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with merge (dict) (index . 3) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "catga.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end }}

{{- define "catga.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "catga.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "catga.headless" -}}
{{ include "catga.fullname" . }}-headless
{{- end }}

{{/* preStop counts inside the grace period; 5 s are for the kubelet. */}}
{{- define "catga.graceSeconds" -}}
{{- add .Values.drain.preStopSleepSeconds .Values.drain.timeoutSeconds .Values.drain.overheadSeconds 5 -}}
{{- end }}

{{- define "catga.devNats" -}}
{{ include "catga.fullname" . }}-nats
{{- end }}
{{- define "catga.devRedis" -}}
{{ include "catga.fullname" . }}-redis
{{- end }}

{{/* The full name of a pod of a throw-away server. Takes (list $ "StatefulSet" number). */}}
{{- define "catga.devHost" -}}
{{- $root := index . 0 -}}
{{ index . 1 }}-{{ index . 2 }}.{{ index . 1 }}.{{ $root.Release.Namespace }}.svc
{{- end }}

{{- define "catga.natsUrls" -}}
{{- $root := . -}}
{{- $urls := .Values.nats.urls -}}
{{- if .Values.devDependencies.nats.enabled -}}
{{- $urls = list -}}
{{- range $i := until 3 -}}
{{- $urls = append $urls (printf "nats://%s:4222" (include "catga.devHost" (list $root (include "catga.devNats" $root) $i))) -}}
{{- end -}}
{{- end -}}
{{- join "," $urls -}}
{{- end }}

{{- define "catga.redisSentinels" -}}
{{- $root := . -}}
{{- $sentinels := .Values.redis.sentinels -}}
{{- if .Values.devDependencies.redis.enabled -}}
{{- $sentinels = list -}}
{{- range $i := until 3 -}}
{{- $sentinels = append $sentinels (printf "%s:26379" (include "catga.devHost" (list $root (include "catga.devRedis" $root) $i))) -}}
{{- end -}}
{{- end -}}
{{- join "," $sentinels -}}
{{- end }}

{{/* The port of an address, or the usual one. Takes (list address usual). */}}
{{- define "catga.portOf" -}}
{{- $named := regexFind ":[0-9]+(/|$)" (index . 0) | trimPrefix ":" | trimSuffix "/" -}}
{{ default (index . 1) $named }}
{{- end }}

{{/* The ports of NATS, Redis, Sentinels and the collector. Sentinels name the Redis servers, so theirs is the usual one. */}}
{{- define "catga.serverPorts" -}}
{{- $ports := list -}}
{{- range splitList "," (include "catga.natsUrls" .) }}{{ $ports = append $ports (include "catga.portOf" (list . "4222")) }}{{ end -}}
{{- $sentinels := include "catga.redisSentinels" . -}}
{{- $ports = append $ports (ternary "6379" (include "catga.portOf" (list .Values.redis.url "6379")) (ne $sentinels "")) -}}
{{- if $sentinels }}
{{- range splitList "," $sentinels }}{{ $ports = append $ports (include "catga.portOf" (list . "26379")) }}{{ end -}}
{{- end -}}
{{- with .Values.tracing.endpoint }}{{ $ports = append $ports (include "catga.portOf" (list . (ternary "443" "80" (hasPrefix "https://" .)))) }}{{ end -}}
{{- join "," (uniq $ports) -}}
{{- end }}

{{/* Where the admin port listens: beyond the pod only with a token. */}}
{{- define "catga.adminListen" -}}
{{- if .Values.admin.existingTokenSecret }}0.0.0.0{{ else }}127.0.0.1{{ end }}:{{ .Values.admin.port }}
{{- end }}

{{- define "catga.replicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.minReplicas }}{{ else }}{{ .Values.workload.replicas }}{{ end -}}
{{- end }}
