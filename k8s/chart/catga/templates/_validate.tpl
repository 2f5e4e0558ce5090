{{/*
What the schema cannot say: values that do not fit each other. All mistakes are collected, so that
nobody has to fix them one run at a time; each is a sentence that says what to do.
*/}}
{{- define "catga.validate" -}}
{{- $v := .Values -}}
{{- $wrong := list -}}
{{- $shards := int $v.cluster.shards -}}

{{- if and $v.nats.urls $v.devDependencies.nats.enabled -}}
{{- $wrong = append $wrong "nats.urls and devDependencies.nats.enabled are both set: keep your own NATS, or the throw-away one." -}}
{{- else if not (or $v.nats.urls $v.devDependencies.nats.enabled) -}}
{{- $wrong = append $wrong "no NATS: set nats.urls, such as [nats://nats.default.svc:4222], or devDependencies.nats.enabled=true for a trial." -}}
{{- end -}}
{{- $redis := or $v.redis.url $v.redis.sentinels -}}
{{- if and $redis $v.devDependencies.redis.enabled -}}
{{- $wrong = append $wrong "redis.url or redis.sentinels and devDependencies.redis.enabled are both set: keep your own Redis, or the throw-away one." -}}
{{- else if not (or $redis $v.devDependencies.redis.enabled) -}}
{{- $wrong = append $wrong "no Redis: set redis.url, such as redis://redis.default.svc:6379/0, or redis.sentinels, or devDependencies.redis.enabled=true for a trial." -}}
{{- end -}}

{{- if lt (int (include "catga.replicas" .)) 1 -}}
{{- $wrong = append $wrong "workload.replicas (autoscaling.minReplicas) is 0: nobody would own a shard. Use at least 1; to stop the cluster, `helm uninstall` it: the data stays in Redis." -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas is %d and maxReplicas %d: the minimum must not be above the maximum." (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- $most := int $v.workload.replicas -}}
{{- $of := "workload.replicas" -}}
{{- if $v.autoscaling.enabled -}}
{{- $most = int $v.autoscaling.maxReplicas -}}
{{- $of = "autoscaling.maxReplicas" -}}
{{- end -}}
{{- if gt (mul 2 $most) $shards -}}
{{- $wrong = append $wrong (printf "%s is %d with cluster.shards %d: a node needs two shards or more, so at most %d nodes." $of $most $shards (div $shards 2)) -}}
{{- end -}}
{{- if gt (int $v.cluster.minMembers) (int (include "catga.replicas" .)) -}}
{{- $wrong = append $wrong (printf "cluster.minMembers is %d, but only %s nodes start: each first start would wait in vain for the others." (int $v.cluster.minMembers) (include "catga.replicas" .)) -}}
{{- end -}}

{{- if and $v.autoscaling.enabled $v.autoscaling.targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- $wrong = append $wrong "autoscaling by targetCPUUtilizationPercentage without resources.requests.cpu: there is nothing to be a percentage of; set the request." -}}
{{- end -}}

{{- $cluster := include "catga.clusterName" . -}}
{{- if gt (len $cluster) 52 -}}
{{- $wrong = append $wrong (printf "cluster.name has %d characters; at most 52 fit into its subjects and keys." (len $cluster)) -}}
{{- else if not (regexMatch "^[a-z0-9-]+$" $cluster) -}}
{{- $wrong = append $wrong (printf "the cluster's name %q may have only a-z, 0-9 and '-'; set cluster.name." $cluster) -}}
{{- end -}}

{{- $before := lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-config" (include "catga.fullname" .)) -}}
{{- $fixed := dict "catga/cluster-shards" (toString $shards) "catga/cluster-name" $cluster -}}
{{- range $key, $now := $fixed -}}
{{- $was := dig "metadata" "annotations" $key "" $before -}}
{{- if and $was (ne $was $now) -}}
{{- if eq $key "catga/cluster-shards" -}}
{{- $wrong = append $wrong (printf "cluster.shards changes from %s to %s: the data is filed under the old count, and the nodes would refuse to start. Keep %s, or install a new cluster beside this one." $was $now $was) -}}
{{- else -}}
{{- $wrong = append $wrong (printf "the cluster's name changes from %s to %s: that would be a new, empty cluster. Keep cluster.name=%s, or install a second release." $was $now $was) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and $v.devDependencies.nats.enabled (or $v.nats.tls.enabled $v.nats.tls.clientSecret $v.nats.existingSecret) -}}
{{- $wrong = append $wrong "devDependencies.nats.enabled with nats.tls or nats.existingSecret: the throw-away NATS has neither TLS nor a password; leave them out." -}}
{{- end -}}
{{- if and $v.devDependencies.redis.enabled $v.redis.existingSecret -}}
{{- $wrong = append $wrong "devDependencies.redis.enabled with redis.existingSecret: the throw-away Redis has no password and would refuse one; leave it out." -}}
{{- end -}}

{{- $tlsUrls := 0 -}}
{{- range $v.nats.urls }}{{ if hasPrefix "tls://" . }}{{ $tlsUrls = add1 $tlsUrls }}{{ end }}{{ end -}}
{{- if $v.nats.tls.enabled -}}
{{- if not $v.nats.tls.existingSecret -}}
{{- $wrong = append $wrong "nats.tls.enabled without nats.tls.existingSecret: name the Secret that holds the authority's certificate." -}}
{{- end -}}
{{- if ne (int $tlsUrls) (len $v.nats.urls) -}}
{{- $wrong = append $wrong "nats.tls.enabled: every one of nats.urls must begin with tls://, or that server would be spoken to in plain text." -}}
{{- end -}}
{{- else if $v.nats.tls.existingSecret -}}
{{- $wrong = append $wrong "nats.tls.existingSecret without nats.tls.enabled: the certificate would not be used; set nats.tls.enabled=true." -}}
{{- end -}}
{{- if and $v.nats.tls.clientSecret (not $v.nats.tls.enabled) -}}
{{- $wrong = append $wrong "nats.tls.clientSecret without nats.tls.enabled: the certificate would be shown to nobody; set nats.tls.enabled=true." -}}
{{- end -}}
{{- if or (hasPrefix "rediss://" $v.redis.url) $v.redis.tls.enabled -}}
{{- $wrong = append $wrong "TLS to Redis (rediss://, redis.tls.enabled) is not possible yet: the hiredis of Debian 12 does not know it, and the nodes would refuse to start. Use redis:// inside a trusted network, or to a proxy that encrypts (sidecars)." -}}
{{- end -}}
{{- range prepend $v.nats.urls $v.redis.url -}}
{{- if regexMatch "://[^/]*:[^/]*@" . -}}
{{- $wrong = append $wrong "a URL of nats.urls or redis.url holds a password, which everyone who may read the pod would see: use existingSecret and keys." -}}
{{- end -}}
{{- end -}}

{{- $nats := $v.nats.keys -}}
{{- if and (or $nats.user $nats.password $nats.token) (not $v.nats.existingSecret) -}}
{{- $wrong = append $wrong "nats.keys without nats.existingSecret: name the Secret that has these keys." -}}
{{- end -}}
{{- if and $nats.token (or $nats.user $nats.password) -}}
{{- $wrong = append $wrong "nats.keys names a token and a user: NATS takes one of the two." -}}
{{- end -}}
{{- if and $v.nats.existingSecret (not (or $nats.user $nats.password $nats.token)) -}}
{{- $wrong = append $wrong "nats.existingSecret without nats.keys: say which key is the password, or the token." -}}
{{- end -}}

{{- if and $v.tracing.headersSecret (not $v.tracing.endpoint) -}}
{{- $wrong = append $wrong "tracing.headersSecret without tracing.endpoint: nothing would be sent; set the endpoint." -}}
{{- end -}}
{{- if and (not $v.admin.readOnly) (not $v.admin.existingTokenSecret) -}}
{{- $wrong = append $wrong "admin.readOnly=false without admin.existingTokenSecret: who may change the cluster must show a token." -}}
{{- end -}}
{{- if $v.ingress.enabled -}}
{{- if not $v.ingress.hosts -}}
{{- $wrong = append $wrong "ingress.enabled without ingress.hosts: name at least one host." -}}
{{- end -}}
{{- if and (eq $v.ingress.target "admin") (not $v.admin.existingTokenSecret) -}}
{{- $wrong = append $wrong "ingress.target=admin without admin.existingTokenSecret: the admin port is not shown to the world without a token." -}}
{{- end -}}
{{- if and (eq $v.ingress.target "admin") $v.networkPolicy.enabled (not (or $v.networkPolicy.allowedClients $v.networkPolicy.extraIngress)) -}}
{{- $wrong = append $wrong "ingress.target=admin, but networkPolicy lets no Ingress controller in: name it in networkPolicy.allowedClients." -}}
{{- end -}}
{{- if and (eq $v.ingress.target "application") (not $v.application.port) -}}
{{- $wrong = append $wrong "ingress.enabled without application.port: say on which port your node program serves HTTP." -}}
{{- end -}}
{{- end -}}
{{- $ports := list $v.health.port $v.admin.port -}}
{{- if $v.application.port }}{{ $ports = append $ports $v.application.port }}{{ end -}}
{{- if ne (len (uniq $ports)) (len $ports) -}}
{{- $wrong = append $wrong "health.port, admin.port and application.port must differ." -}}
{{- end -}}

{{- if and $v.drain.preStopSleepSeconds (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $wrong = append $wrong (printf "drain.preStopSleepSeconds needs Kubernetes 1.30, this is %s: set it to 0." .Capabilities.KubeVersion.Version) -}}
{{- end -}}

{{- if $wrong -}}
{{- fail (printf "\n\nThese values cannot work:\n  * %s\n" (join "\n  * " (uniq $wrong))) -}}
{{- end -}}
{{- end }}
