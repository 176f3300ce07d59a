{{/*
Makes the values of charts/bindery from those of Alibaba Cloud's chart. All of bindery's templates (the folder `bindery`) include this
first, so it does nothing when it has been done. Helm takes this definition instead of bindery's own because its file is higher up.
*/}}
{{- define "bindery.values" -}}
{{- if not (hasKey .Values "backends") -}}
{{- include "alibabacloud-servicebroker.check" . -}}
{{- $name := "alibabacloud-servicebroker" -}}
{{- $_ := set .Values "backends" (dict "alibaba" (merge (dict "type" "alibaba") .Values.alibaba)) -}}
{{- $_ := set .Values "services" list -}}
{{- $persistence := .Values.etcd.persistence -}}
{{- $broker := dict
      "register" (.Values.registerBroker | ternary $name "")
      "host" (printf "%s.%s.svc.cluster.local" (include "alibabacloud-servicebroker.service" .) .Release.Namespace)
      "store" .Values.store
      "storePassword" .Values.storePassword
      "replicas" .Values.replicaCount
      "serviceAccountAnnotations" .Values.serviceAccountAnnotations
      "persistence" (dict "enabled" $persistence.enabled "size" $persistence.size) -}}
{{- with .Values.resources -}}{{- $_ := set $broker "resources" . -}}{{- end -}}
{{- $_ := set .Values "broker" $broker -}}
{{- end -}}
{{- end -}}

{{/* Refuses what would otherwise be ignored. */}}
{{- define "alibabacloud-servicebroker.check" -}}
{{- if .Values.service.internalPort -}}
{{- fail "service.internalPort: the broker listens on its own port; remove the value" -}}
{{- end -}}
{{- if or .Values.etcdImage .Values.etcd.servers (not .Values.etcd.useEmbedded) -}}
{{- fail "etcd: bindery keeps its records in a file on a volume, or in `store`; remove etcdImage, etcd.servers and etcd.useEmbedded" -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (empty .Values.store) -}}
{{- fail "replicaCount: a file is for one broker; set `store` to a database that several share, or replicaCount to 1" -}}
{{- end -}}
{{- end -}}

{{/* The Service that the former chart had: the release alibroker gives the address in examples/alibaba/broker.yaml. */}}
{{- define "alibabacloud-servicebroker.service" -}}
{{- printf "%s-%s" .Release.Name .Values.service.name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
