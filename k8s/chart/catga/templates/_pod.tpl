{{/* The pod of a node: the same for a StatefulSet and a Deployment. Neither the number of replicas
nor a list of peers is in it: scaling must not restart pods. */}}

{{/* The settings of the node that the chart decides, as environment. */}}
{{- define "catga.env" -}}
{{- $v := .Values -}}
- {name: CATGA_NODE_ID, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
{{- /* Newer API servers copy the machine's labels to the pod; elsewhere they are empty. */}}
{{- if $v.topology.region }}
- {name: CATGA_NODE_REGION, value: {{ $v.topology.region | quote }}}
{{- else }}
- {name: CATGA_NODE_REGION, valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/region']"}}}
{{- end }}
{{- if $v.topology.zone }}
- {name: CATGA_NODE_ZONE, value: {{ $v.topology.zone | quote }}}
{{- else }}
- {name: CATGA_NODE_ZONE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}}
{{- end }}
{{ include "catga.connectionEnv" . }}
- {name: CATGA_CLUSTER_SHARDS, value: {{ $v.cluster.shards | quote }}}
- {name: CATGA_CLUSTER_MIN_MEMBERS, value: {{ $v.cluster.minMembers | quote }}}
- {name: CATGA_DRAIN_TIMEOUT, value: "{{ $v.drain.timeoutSeconds }}s"}
- {name: CATGA_REDIS_WAIT_REPLICAS, value: {{ $v.redis.waitReplicas | quote }}}
- {name: CATGA_HEALTH_LISTEN, value: "0.0.0.0:{{ $v.health.port }}"}
- {name: CATGA_ADMIN_LISTEN, value: {{ include "catga.adminListen" . | quote }}}
- {name: CATGA_ADMIN_READ_ONLY, value: {{ $v.admin.readOnly | quote }}}
{{- if $v.admin.existingTokenSecret }}
- {name: CATGA_ADMIN_TOKEN_FILE, value: /etc/catga/admin/{{ $v.admin.tokenKey }}}
- {name: CATGA_ADMIN_ALLOWED_HOSTS, value: {{ include "catga.adminHosts" . | quote }}}
{{- end }}
- {name: CATGA_LOG_LEVEL, value: {{ $v.log.level | quote }}}
- {name: CATGA_LOG_FORMAT, value: {{ $v.log.format | quote }}}
- {name: CATGA_TELEMETRY_SERVICE_NAME, value: {{ include "catga.clusterName" . | quote }}}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: "k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME),k8s.container.name=node,cloud.region=$(CATGA_NODE_REGION),cloud.availability_zone=$(CATGA_NODE_ZONE)"}
{{- with $v.tracing.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: {{ $v.tracing.sampler | quote }}}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ $v.tracing.samplerArg | quote }}}
{{- end }}
{{- if and $v.tracing.endpoint $v.tracing.headersSecret }}
- {name: OTEL_EXPORTER_OTLP_HEADERS, valueFrom: {secretKeyRef: {name: {{ $v.tracing.headersSecret }}, key: headers}}}
{{- end }}
{{- end }}

{{/* How nodes and the tool reach NATS and Redis, and where the node's file is. */}}
{{- define "catga.connectionEnv" -}}
{{- $v := .Values -}}
- {name: CATGA_CONFIG, value: /etc/catga/catga.json}
- {name: CATGA_CLUSTER_NAME, value: {{ include "catga.clusterName" . | quote }}}
- {name: CATGA_NATS_URLS, value: {{ include "catga.natsUrls" . | quote }}}
{{- if $v.nats.existingSecret }}
{{- with $v.nats.keys.user }}
- {name: CATGA_NATS_USER, valueFrom: {secretKeyRef: {name: {{ $v.nats.existingSecret }}, key: {{ . }}}}}
{{- end }}
{{- with $v.nats.keys.password }}
- {name: CATGA_NATS_PASSWORD_FILE, value: /etc/catga/nats/{{ . }}}
{{- end }}
{{- with $v.nats.keys.token }}
- {name: CATGA_NATS_TOKEN_FILE, value: /etc/catga/nats/{{ . }}}
{{- end }}
{{- end }}
{{- if $v.nats.tls.enabled }}
{{- /* A variable of OpenSSL: the authorities that are believed. */}}
- {name: SSL_CERT_FILE, value: /etc/catga/nats-tls/{{ $v.nats.tls.caKey }}}
{{- end }}
{{- if $v.nats.tls.clientSecret }}
- {name: CATGA_NATS_CERTIFICATE_FILE, value: /etc/catga/nats-client/{{ $v.nats.tls.certificateKey }}}
- {name: CATGA_NATS_KEY_FILE, value: /etc/catga/nats-client/{{ $v.nats.tls.privateKey }}}
{{- end }}
{{- with $v.redis.url }}
- {name: CATGA_REDIS_URL, value: {{ . | quote }}}
{{- end }}
{{- with include "catga.redisSentinels" . }}
- {name: CATGA_REDIS_SENTINELS, value: {{ . | quote }}}
- {name: CATGA_REDIS_SENTINEL_MASTER, value: {{ $v.redis.sentinelMaster | quote }}}
{{- end }}
{{- if $v.redis.existingSecret }}
{{- with $v.redis.keys.user }}
- {name: CATGA_REDIS_USER, valueFrom: {secretKeyRef: {name: {{ $v.redis.existingSecret }}, key: {{ . }}}}}
{{- end }}
{{- with $v.redis.keys.password }}
- {name: CATGA_REDIS_PASSWORD_FILE, value: /etc/catga/redis/{{ . }}}
{{- end }}
{{- with $v.redis.keys.sentinelPassword }}
- {name: CATGA_REDIS_SENTINEL_PASSWORD_FILE, value: /etc/catga/redis/{{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{/* Names under which a browser may reach the admin port through the cluster. */}}
{{- define "catga.adminHosts" -}}
{{- $service := printf "%s-admin" (include "catga.fullname" .) -}}
{{- $namespace := .Release.Namespace -}}
{{- $hosts := list $service (printf "%s.%s" $service $namespace) (printf "%s.%s.svc" $service $namespace) -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.target "admin") }}{{ $hosts = concat $hosts .Values.ingress.hosts }}{{ end -}}
{{- join "," (concat $hosts .Values.admin.allowedHosts | uniq) -}}
{{- end }}

{{- define "catga.connectionMounts" -}}
- {name: config, mountPath: /etc/catga/catga.json, subPath: catga.json, readOnly: true}
{{- if .Values.nats.existingSecret }}
- {name: nats, mountPath: /etc/catga/nats, readOnly: true}
{{- end }}
{{- if .Values.nats.tls.enabled }}
- {name: nats-tls, mountPath: /etc/catga/nats-tls, readOnly: true}
{{- end }}
{{- if .Values.nats.tls.clientSecret }}
- {name: nats-client, mountPath: /etc/catga/nats-client, readOnly: true}
{{- end }}
{{- if .Values.redis.existingSecret }}
- {name: redis, mountPath: /etc/catga/redis, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "catga.connectionVolumes" -}}
- {name: config, configMap: {name: {{ include "catga.fullname" . }}-config}}
{{- if .Values.nats.existingSecret }}
- {name: nats, secret: {secretName: {{ .Values.nats.existingSecret }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.nats.tls.enabled }}
- {name: nats-tls, secret: {secretName: {{ .Values.nats.tls.existingSecret }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.nats.tls.clientSecret }}
- {name: nats-client, secret: {secretName: {{ .Values.nats.tls.clientSecret }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.redis.existingSecret }}
- {name: redis, secret: {secretName: {{ .Values.redis.existingSecret }}, defaultMode: 0440}}
{{- end }}
- {name: tmp, emptyDir: {}}
{{- end }}

{{- define "catga.probe" -}}
httpGet: {path: {{ .path }}, port: health}
periodSeconds: {{ .periodSeconds }}
failureThreshold: {{ .failureThreshold }}
timeoutSeconds: {{ .timeoutSeconds }}
{{- end }}

{{- define "catga.podTemplate" -}}
{{- $v := .Values -}}
metadata:
  labels:
    {{- /* Not the chart's version: a new chart that renders the same pod must not restart it. */}}
    {{- include "catga.selectorLabels" (list . "node") | nindent 4 }}
    {{- with merge (dict) $v.podLabels $v.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include (print .Template.BasePath "/configmap.yaml") . | sha256sum }}
    {{- if $v.metrics.podAnnotations }}
    prometheus.io/scrape: "true"
    prometheus.io/path: /metrics
    prometheus.io/port: {{ $v.health.port | quote }}
    {{- end }}
    {{- with merge (dict) $v.podAnnotations $v.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "catga.serviceAccountName" . }}
  automountServiceAccountToken: {{ $v.serviceAccount.automount }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "catga.graceSeconds" . }}
  securityContext:
    {{- toYaml $v.podSecurityContext | nindent 4 }}
  {{- with $v.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - {name: {{ . }}}
    {{- end }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $v.topologySpreadConstraints }}
    {{- toYaml $v.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "catga.selectorLabels" (list . "node") | nindent 10 }}
    {{- end }}
  {{- with $v.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: node
      image: {{ include "catga.image" . }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      {{- with $v.command }}
      command:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.args }}
      args:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      env:
        {{- include "catga.env" . | nindent 8 }}
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $v.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: health, containerPort: {{ $v.health.port }}}
        - {name: admin, containerPort: {{ $v.admin.port }}}
        {{- if $v.application.port }}
        - {name: application, containerPort: {{ $v.application.port }}}
        {{- end }}
      startupProbe:
        {{- include "catga.probe" $v.probes.startup | nindent 8 }}
      readinessProbe:
        {{- include "catga.probe" $v.probes.readiness | nindent 8 }}
      livenessProbe:
        {{- include "catga.probe" $v.probes.liveness | nindent 8 }}
      {{- if $v.drain.preStopSleepSeconds }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ $v.drain.preStopSleepSeconds }}}
      {{- end }}
      resources:
        {{- toYaml $v.resources | nindent 8 }}
      securityContext:
        {{- toYaml $v.containerSecurityContext | nindent 8 }}
      volumeMounts:
        {{- include "catga.connectionMounts" . | nindent 8 }}
        {{- if $v.admin.existingTokenSecret }}
        - {name: admin, mountPath: /etc/catga/admin, readOnly: true}
        {{- end }}
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $v.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "catga.connectionVolumes" . | nindent 4 }}
    {{- if $v.admin.existingTokenSecret }}
    - {name: admin, secret: {secretName: {{ $v.admin.existingTokenSecret }}, defaultMode: 0440}}
    {{- end }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
