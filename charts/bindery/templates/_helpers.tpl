{{/*
Sets the values that a release lacks because its chart did not have them yet. `helm upgrade --reuse-values` renders the new templates
with the values of the former chart, so each template includes this first. `defaults.yaml` is a copy of values.yaml, which templates
cannot read; `make generate` writes it.
*/}}
{{- define "bindery.defaults" -}}
{{- include "bindery.values" . -}}
{{- if .Values.servers -}}
{{- fail "servers is called `backends` now, `protocol` of a server `type`, and `server` of a plan `backend`: rename them" -}}
{{- end -}}
{{- include "bindery.complete" (list .Values (.Files.Get "defaults.yaml" | fromYaml)) -}}
{{- end -}}

{{/* Sets what a map lacks, at every depth: (list VALUES DEFAULTS). Sprig's `merge` takes `false` and "" for lacking. */}}
{{- define "bindery.complete" -}}
{{- $values := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- if not (hasKey $values $key) -}}
{{- $_ := set $values $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (get $values $key)) -}}
{{- include "bindery.complete" (list (get $values $key) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The prefix of every name. */}}
{{- define "bindery.name" -}}
{{- .Values.fullnameOverride | default .Release.Name -}}
{{- end -}}

{{- define "bindery.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Labels of everything. */}}
{{- define "bindery.labels" -}}
app.kubernetes.io/name: bindery
app.kubernetes.io/instance: {{ include "bindery.name" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Labels that select a role's pods: (list . "admission"). */}}
{{- define "bindery.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: bindery
app.kubernetes.io/instance: {{ include "bindery.name" $root }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* What the pods of all roles and hooks share: (list . "admission"), the second being the ServiceAccount's suffix. */}}
{{- define "bindery.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "bindery.name" $root }}-{{ index . 1 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* What the containers of all roles and hooks share. */}}
{{- define "bindery.container" -}}
image: {{ include "bindery.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  - {name: BINDERY_NAME, value: {{ include "bindery.name" . }}}
  - {name: BINDERY_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  # The allocator gives memory back at once, also memory that a burst took in small pieces.
  - {name: MIMALLOC_PURGE_DELAY, value: "0"}
  - {name: MIMALLOC_GENERIC_COLLECT, value: "200"}
  {{- with .Values.telemetry.otlpEndpoint }}
  - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
  {{- end }}
{{- end -}}

{{/* The operator's port of a serving container, its probes, and a pause so that no request meets a closed port. */}}
{{- define "bindery.serving" -}}
livenessProbe:
  httpGet: {path: /healthz, port: ops}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: ops}
  periodSeconds: 2
  failureThreshold: 2
lifecycle:
  # The pod serves until the endpoints no longer list it.
  preStop: {sleep: {seconds: 5}}
{{- end -}}

{{/* Spread a role's pods over nodes where there are several: (list . "admission"). */}}
{{- define "bindery.spread" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "bindery.selector" . | nindent 14 }}
{{- end -}}

{{/*
Whether bindery's own broker is installed: it has something to offer. Backends of the types aws and alibaba offer their
services by themselves.
*/}}
{{- define "bindery.hasBroker" -}}
{{- $offers := not (empty .Values.services) -}}
{{- range .Values.backends -}}
{{- if has .type (list "aws" "alibaba") -}}{{- $offers = true -}}{{- end -}}
{{- end -}}
{{- if $offers -}}true{{- end -}}
{{- end -}}

{{/* The broker's configuration file. */}}
{{- define "bindery.config" -}}
{{- $backends := dict -}}
{{- range $name, $backend := .Values.backends -}}
{{- $folder := printf "/etc/bindery/backends/%s" $name -}}
{{- $entry := omit $backend "secretName" "secretKeys" -}}
{{- $files := dict "password" "passwordFile" "ca.crt" "caFile" "tls.crt" "certFile" "tls.key" "keyFile"
      "accessKeyId" "accessKeyIdFile" "secretAccessKey" "secretAccessKeyFile"
      "rds-ca.crt" "rdsCaFile" "mq-ca.crt" "mqCaFile" "accessKeySecret" "accessKeySecretFile" "catalog.yaml" "catalogFile" -}}
{{- $clientCa := dict "client-ca.crt" "certFile" "client-ca.key" "keyFile" -}}
{{- range $key := $backend.secretKeys | default (list) -}}
{{- $file := printf "%s/%s" $folder $key -}}
{{- if hasKey $clientCa $key -}}
{{- $_ := set $entry "clientCa" (merge (dict (get $clientCa $key) $file) (get $entry "clientCa" | default dict)) -}}
{{- else -}}
{{- $_ := set $entry (get $files $key) $file -}}
{{- end -}}
{{- end -}}
{{- if ($backend.templates).configMap -}}
{{- $_ := set $entry "templates" (dict "directory" (printf "/etc/bindery-templates/%s" $name)) -}}
{{- end -}}
{{- $_ := set $backends $name $entry -}}
{{- end -}}
{{- range $service := .Values.services -}}
{{- range $plan := $service.plans -}}
{{- if not (hasKey $backends $plan.backend) -}}
{{- fail (printf "services: plan %q of service %q names the backend %q, which is missing in `backends`" $plan.name $service.name $plan.backend) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $config := dict "backends" $backends "services" .Values.services "store" (include "bindery.store" .) -}}
{{- if .Values.broker.storePassword.secretName -}}
{{- $_ := set $config "storePasswordFile" "/etc/bindery/store-password" -}}
{{- end -}}
{{- with .Values.broker.formerStoreKeys -}}
{{- if .secretName -}}
{{- $files := list -}}
{{- range .keys -}}
{{- $files = append $files (printf "/etc/bindery/former-store-keys/%s" .) -}}
{{- end -}}
{{- $_ := set $config "formerStoreKeyFiles" $files -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Where the broker keeps its records. Values are no place for passwords. */}}
{{- define "bindery.store" -}}
{{- $store := .Values.broker.store -}}
{{- if or (regexMatch "^[a-z]+://[^@/?]*:[^@]*@" $store) (regexMatch "[?&]password=" $store) -}}
{{- fail "broker.store holds a password; remove it, and name a Secret with the password in broker.storePassword" -}}
{{- end -}}
{{- if and .Values.broker.storePassword.secretName (not (hasPrefix "postgres" $store)) -}}
{{- fail "broker.storePassword is set, but only a store in PostgreSQL or CockroachDB has a password; set broker.store to such a store" -}}
{{- end -}}
{{- $store | default "sqlite:/var/lib/bindery/broker.db" -}}
{{- end -}}

{{/* Files for the broker out of somebody's Secret: (list "secret" (list "key" ...) "folder"). */}}
{{- define "bindery.files" -}}
{{- $folder := index . 2 -}}
- secret:
    name: {{ index . 0 }}
    items:
      {{- range index . 1 }}
      - {key: {{ . }}, path: {{ $folder }}/{{ . }}}
      {{- end }}
{{- end -}}

{{/* What the broker's containers see. */}}
{{- define "bindery.brokerMounts" -}}
- {name: config, mountPath: /etc/bindery, readOnly: true}
{{- if not .Values.broker.store }}
- {name: store, mountPath: /var/lib/bindery}
{{- end }}
{{- range $name, $backend := .Values.backends }}
{{- if ($backend.templates).configMap }}
- {name: templates-{{ $name }}, mountPath: /etc/bindery-templates/{{ $name }}, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{/* Gives a role's ServiceAccount the Role or ClusterRole of its name: (list . "Role" "admission"). */}}
{{- define "bindery.bind" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $subject := printf "%s-%s" (include "bindery.name" $root) (index . 2) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ $subject }}
  labels: {{- include "bindery.labels" $root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ $subject }}}
subjects:
  - {kind: ServiceAccount, name: {{ $subject }}, namespace: {{ $root.Release.Namespace }}}
{{- end -}}

{{/* Has the API server refuse what a policy of the chart forbids: (list . "catalog-secrets"). */}}
{{- define "bindery.enforce" -}}
{{- $root := index . 0 -}}
{{- $policy := printf "%s-%s" (include "bindery.name" $root) (index . 1) -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $policy }}
  labels: {{- include "bindery.labels" $root | nindent 4 }}
spec:
  policyName: {{ $policy }}
  validationActions: [Deny]
{{- end -}}

{{/* Makes a resource part of a hook, before the Job that needs it: (list "pre-upgrade" "-1"). */}}
{{- define "bindery.hook" -}}
helm.sh/hook: {{ index . 0 }}
helm.sh/hook-weight: {{ index . 1 | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* Whether pods wait for their bindings behind gates. */}}
{{- define "bindery.gateWaitingPods" -}}
{{- and .Values.apis.serviceCatalog .Values.admission.gateWaitingPods -}}
{{- end -}}

{{/* The namespaces that injection leaves out, as a list. */}}
{{- define "bindery.leftOutNamespaces" -}}
{{- concat (list "kube-system" "kube-node-lease" .Release.Namespace) .Values.admission.excludeNamespaces | uniq | toYaml -}}
{{- end -}}

{{/* Whether the API server binds pods by itself. YAML reads `off` as false. */}}
{{- define "bindery.bindsNatively" -}}
{{- if and (eq (toString .Values.admission.native) "auto")
      (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") -}}
true
{{- end -}}
{{- end -}}

{{/* An expression of native-injection.yaml with the installation's excluded containers: (list . EXPRESSION). */}}
{{- define "bindery.withExcludedContainers" -}}
{{- $root := index . 0 -}}
{{- $native := $root.Files.Get "native-injection.yaml" | fromYaml -}}
{{- $names := list -}}
{{- range $root.Values.admission.excludeContainers | default $native.excludeContainers -}}
{{- $quoted := trimSuffix "*" . | regexQuoteMeta -}}
{{- $names = append $names (hasSuffix "*" . | ternary (printf "%s.*" $quoted) $quoted) -}}
{{- end -}}
{{- index . 1 | replace "EXCLUDED_CONTAINERS" (printf "^(%s)$" (join "|" $names) | toRawJson) -}}
{{- end -}}

{{/* Whether the API server has bound a pod, as an expression: (list . "own") or (list . "defaults"). */}}
{{- define "bindery.isBound" -}}
{{- $root := index . 0 -}}
{{- $native := $root.Files.Get "native-injection.yaml" | fromYaml -}}
{{- include "bindery.withExcludedContainers" (list $root (get $native (index . 1)).isBound) -}}
{{- end -}}
